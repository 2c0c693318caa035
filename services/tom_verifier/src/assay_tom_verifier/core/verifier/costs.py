"""Arithmetic that traces and trainings take, so that methods can be compared at equal cost."""

from __future__ import annotations

from assay_tom_verifier.core.verifier.network import BeliefNetwork

# Backward costs twice the forward pass: gradients of activations and of weights.
TRAINING = 3


def trace_flops(network: BeliefNetwork, steps: float) -> float:
    """Of drawing, or of scoring, one trace of `steps` steps: the question, each line and each slot is read once."""
    return network.flops_per_position() * (1 + 2 * steps)


def training_flops(network: BeliefNetwork, traces: int, steps: float) -> float:
    """Of training on so many traces of `steps` steps each."""
    return TRAINING * traces * trace_flops(network, steps)


def votes_at_equal_cost(generator: BeliefNetwork, verifier: BeliefNetwork, n: int) -> int:
    """How many traces a majority vote may draw for what drawing and scoring n of them costs; rounded up."""
    drawn = n * generator.flops_per_position()
    scored = n * verifier.flops_per_position()
    return -(-(drawn + scored) // generator.flops_per_position())
