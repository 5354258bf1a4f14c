"""Images as arrays: boxes, orientation and the one preprocessing that training and inference share."""
