"""Find, place and stage neuroblastoma in children's MR, after Chen et al. 2019, on BVLC Caffe."""

__version__ = "0.1.0"
NAME = "nbcad"  # of manufacturer, device and algorithm in what is written
