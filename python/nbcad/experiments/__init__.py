"""Experiments around the reproduction: ablation, parity, baselines, and the paper's words beside the files."""
