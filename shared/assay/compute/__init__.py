"""Data-parallel work inside an engine: one interface over local processes and Ray tasks."""

from assay.compute.compute import Compute
from assay.compute.local import LocalCompute

__all__ = ["Compute", "LocalCompute"]
