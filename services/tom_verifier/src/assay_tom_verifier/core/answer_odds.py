"""How likely a language model finds an answer after a prompt, from its score of both together."""

from __future__ import annotations

from assay.models.language_model import Score


def nats_after(score: Score, start_byte: int) -> float:
    """Nats of what follows the prompt of `start_byte` bytes. A token that spans the border counts as following."""
    return sum(
        nats or 0.0
        for nats, (_, end) in zip(score.log_probabilities, score.byte_offsets, strict=True)
        if end > start_byte
    )
