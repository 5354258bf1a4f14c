"""Data to work on: the phantom, public data sets, and de-identified copies of a hospital's own."""

VENDORS = ("siemens", "ge", "philips", "canon", "uih")  # whose scanners the phantom has, see `phantom.scanners`
