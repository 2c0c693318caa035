"""`assay tom-verifier`: who believes what, whether a trace of it is right, and what in a model carries it."""

from assay_tom_verifier.cli import epistemic, labels, sensitivity, stories, verifier  # each adds its commands
from assay_tom_verifier.cli.group import tom_verifier

__all__ = ["epistemic", "labels", "sensitivity", "stories", "tom_verifier", "verifier"]
