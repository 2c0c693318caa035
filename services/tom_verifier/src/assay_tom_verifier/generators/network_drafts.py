"""Traces that a small stored network draws, told in the words that its claims stand for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from assay.cancel import CancelToken
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.traces.compose import compose_trace
from assay_tom_verifier.core.traces.format import write_trace
from assay_tom_verifier.core.traces.writer import Draft
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.questions import collate
from assay_tom_verifier.core.verifier.sample import sample_traces
from assay_tom_verifier.generators.seeds import batch_seed

AT_ONCE = 64


def network_drafts(
    network: BeliefNetwork,
    story: Story,
    question: Question,
    count: int,
    *,
    temperature: float,
    seed: int,
    cancel: CancelToken,
) -> Iterator[Draft]:
    """`count` drafts, of which the first do not depend on it; raises what `sample_traces` does."""
    encoded = network.encode(story, question)
    unlabelled = np.zeros(encoded.steps, dtype=np.int64)  # what is right is not looked at
    questions = collate([encoded], [unlabelled], [question.order], [0])
    for first in range(0, count, AT_ONCE):
        random = torch.Generator().manual_seed(batch_seed(seed, first))
        (drawn,) = sample_traces(network, questions, AT_ONCE, random, temperature=temperature, cancel=cancel).tolist()
        for claims in drawn[: count - first]:
            said = [encoded.labels.container(claim) for claim in claims]
            yield Draft(write_trace(compose_trace(story, question, said)))
