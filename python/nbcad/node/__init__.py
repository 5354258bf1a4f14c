"""The DICOM node: studies are received, analysed, and their results sent to an archive (`nbcad serve`)."""
