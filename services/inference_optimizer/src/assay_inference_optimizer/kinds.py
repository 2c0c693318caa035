"""Kinds of the artifacts this service reads and writes."""

MODEL = "model"
TEXT = "text"
PLAN = "sparsity-plan"
COMPARISON = "selection-comparison"
PROFILE = "exit-profile"
THRESHOLDS = "exit-thresholds"
SELECTION = "block-selection"
