"""What people say of images: CSV, SEG, RTSTRUCT and mask files, merged with their source."""
