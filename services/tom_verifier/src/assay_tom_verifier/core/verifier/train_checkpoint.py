"""Training any local checkpoint to judge traces that small generators write, told to it as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.checkpoint import load_model, load_tokenizer
from assay.models.loading import transformers_loading
from assay.progress import Progress
from assay_tom_verifier.core.verifier.checkpoint_model import CheckpointVerifier
from assay_tom_verifier.core.verifier.losses import prefix_labels
from assay_tom_verifier.core.verifier.network import BeliefNetwork
from assay_tom_verifier.core.verifier.optimise import Schedule, optimise
from assay_tom_verifier.core.verifier.questions import Questions
from assay_tom_verifier.core.verifier.streams import OnPolicyBatches, StorySource
from assay_tom_verifier.core.verifier.trace_text import TraceText, trace_text
from assay_tom_verifier.core.verifier.train import run_name, weights_sha256
from assay_tom_verifier.core.verifier.written_traces import containers_of

_TEXTS_AT_ONCE = 4  # of a step: a text may be thousands of tokens, and activations of all its layers are held


def load_checkpoint_verifier(folder: Path) -> CheckpointVerifier:
    """A checkpoint with its tokenizer, in float32; what `assay.models.checkpoint` raises."""
    return CheckpointVerifier(load_model(folder, dtype=torch.float32), load_tokenizer(folder))


def save_checkpoint_verifier(verifier: CheckpointVerifier, folder: Path) -> None:
    """Writes weights, config and tokenizer, to be loaded as any checkpoint."""
    with transformers_loading():
        verifier.model.save_pretrained(folder)
    verifier.tokenizer.save_pretrained(folder)


def train_checkpoint_verifier(
    verifier: CheckpointVerifier,
    source: StorySource,
    generators: Sequence[BeliefNetwork],
    schedule: Schedule,
    *,
    cancel: CancelToken,
    progress: Progress,
    checkpoint_dir: Path | None = None,
) -> None:
    """Trains all weights of `verifier` on fresh traces of the generators, in turn, with prefix labels.

    source: whose stories are told; its seed is the run's. Resumable, cancellable: see `optimise`. InvalidInput where
    there is no generator.
    """
    if not generators:
        raise InvalidInput("generators", "are none; give at least one, whose traces are to be judged")
    batches = OnPolicyBatches(source, generators, schedule.batch, cancel)

    def losses_at(step: int) -> Iterator[Tensor]:
        questions, claims = batches.batch(step)
        total = int(questions.lengths.sum())
        for rows in torch.arange(len(questions)).split(_TEXTS_AT_ONCE):
            part = questions.rows(rows)
            texts, labels = as_text(source, part, claims[rows, : part.steps])
            yield verifier.loss(texts, labels) * (sum(map(len, labels)) / total)

    inputs = (weights_sha256(verifier.model), *(weights_sha256(each) for each in generators))
    optimise(
        verifier.model,
        losses_at,
        schedule,
        run=run_name(schedule, source.seed, str(source), *inputs),
        cancel=cancel,
        progress=progress,
        checkpoint_dir=checkpoint_dir,
    )


def as_text(source: StorySource, questions: Questions, claims: Tensor) -> tuple[list[TraceText], list[list[bool]]]:
    """The traces in words, and their steps' prefix labels. claims: [B, T] int64, one trace of each question, which are
    of the source's stories.
    """
    labels = prefix_labels(questions, claims[:, None]).squeeze(1)
    texts, wanted = [], []
    for row, length in enumerate(questions.lengths.tolist()):
        made = source.story(int(questions.stories[row]))
        question = made.questions[int(questions.orders[row])].question
        said = [questions.labels[row].container(value) for value in claims[row, :length].tolist()]
        lines = [line.text for line in made.story.lines]
        texts.append(trace_text(lines, question, said, containers_of(made.story)))
        wanted.append(labels[row, :length].tolist())
    return texts, wanted


def checkpoint_scores(
    verifier: CheckpointVerifier, source: StorySource, questions: Questions, claims: Tensor, cancel: CancelToken
) -> Tensor:
    """As `ProcessBeliefModel.score`: claims [B, N, T] -> [B, N, T] float32; slots beyond a story's end get 0."""
    scores = torch.zeros(claims.shape)
    for row, length in enumerate(questions.lengths.tolist()):
        made = source.story(int(questions.stories[row]))
        asked = made.questions[int(questions.orders[row])].question
        said = [[questions.labels[row].container(slot) for slot in trace[:length].tolist()] for trace in claims[row]]
        scores[row, :, :length] = torch.tensor(verifier.score_claims(made.story, asked, said, cancel))
    return scores
