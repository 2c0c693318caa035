"""assay: measures, audits and speeds up large language models."""

__version__ = "0.1.0"
