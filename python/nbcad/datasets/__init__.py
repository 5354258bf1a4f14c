"""Data to work on: the phantom, public data sets, and de-identified copies of a hospital's own."""
