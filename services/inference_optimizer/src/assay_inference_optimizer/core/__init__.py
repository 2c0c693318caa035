"""The science: sparse attention, early exit and generation, over tensors; knows no transport."""
