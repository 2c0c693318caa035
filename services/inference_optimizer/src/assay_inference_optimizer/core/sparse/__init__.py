"""Sketch&Walk sparse attention (arXiv:2602.07397) in transformers 5, beside the baselines it is held against."""
