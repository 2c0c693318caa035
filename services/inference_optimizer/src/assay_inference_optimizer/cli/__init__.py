"""`assay inference-optimizer`: what a model costs to run, what it could, and what it says."""

from assay_inference_optimizer.cli import bench, early_exit, language_model, sparse  # each adds its commands
from assay_inference_optimizer.cli.group import inference_optimizer

__all__ = ["bench", "early_exit", "inference_optimizer", "language_model", "sparse"]
