"""The DICOM node: studies are received, analysed, and their results sent to an archive (`tools/serve.py`)."""
