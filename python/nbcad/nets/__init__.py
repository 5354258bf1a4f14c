"""Caffe loaded, run and described; the names of a net's outputs."""
