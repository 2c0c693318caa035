"""Replicate-and-Quantize (arXiv:2602.19938) over tensors: imports torch and transformers, knows no transport."""
