"""What generators and verifiers go down on."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.questions import Questions

PART = 32  # traces of a batch whose activations are held at once


class Target(enum.Enum):
    """PREFIX: a step is right if it and all before it are, the Process Belief Model's labels. OUTCOME: the last step
    alone, by the answer. SHUFFLED: prefix labels of another trace of the batch, a control that has nothing to learn.
    """

    PREFIX = "prefix"
    OUTCOME = "outcome"
    SHUFFLED = "shuffled"


def in_parts(counted: Tensor) -> Iterator[tuple[Tensor, float]]:
    """Rows of a batch, [PART] int64 at most, and the share of the batch's mean loss that is theirs.

    counted: [B] int64, how many steps of each row the loss is a mean of.
    """
    total = counted.sum()
    for rows in torch.arange(len(counted)).split(PART):
        yield rows, float(counted[rows].sum() / total)


def counted_steps(questions: Questions, target: Target) -> Tensor:
    """[B] int64: steps of each question's trace that `verifier_loss` is a mean of."""
    return torch.ones_like(questions.lengths) if target is Target.OUTCOME else questions.lengths


def prefix_labels(questions: Questions, claims: Tensor) -> Tensor:
    """claims: [B, N, T]; returns [B, N, T] bool: this claim and all before it are what the chain believes."""
    right = claims == questions.beliefs[:, None, :]
    return right.to(torch.uint8).cumprod(-1).bool()


def generator_loss(network: BeliefNetwork, questions: Questions) -> Tensor:
    """Cross-entropy of the right belief after each line, the right ones before it given; scalar nats a step."""
    lines, _ = network.read(questions.features, questions.beliefs)
    mask = questions.mask
    return F.cross_entropy(network.beliefs(lines[mask]), questions.beliefs[mask])


def verifier_loss(
    network: BeliefNetwork, questions: Questions, claims: Tensor, target: Target, generator: torch.Generator
) -> Tensor:
    """Binary cross-entropy of the labels; claims: [B, T], one trace of each question; scalar nats a counted step.

    generator: deals the labels for SHUFFLED.
    """
    labels = prefix_labels(questions, claims[:, None]).squeeze(1)
    mask = questions.mask
    if target is Target.OUTCOME:
        labels = (claims == questions.beliefs) & mask
        mask = torch.zeros_like(mask).scatter(-1, (questions.lengths - 1)[:, None], True)
    elif target is Target.SHUFFLED:
        labels = labels[torch.randperm(len(labels), generator=generator)]
    _, slots = network.read(questions.features, claims)
    return F.binary_cross_entropy_with_logits(network.margins(slots)[mask], labels[mask].to(slots.dtype))
