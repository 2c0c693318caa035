"""The Process Belief Model of any causal checkpoint: the odds of + against - after each step, all in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.verifier.trace_text import TraceText, trace_text
from assay_tom_verifier.core.verifier.written_traces import containers_of

# Stands after each step; the model's next token is the verdict. Never followed by one: later steps see no label.
SLOT = "Right so far:"
VERDICTS = ("+", "-")


class CheckpointVerifier:
    """model: a causal language model; tokenizer: its own. score = sigmoid(logit(+) - logit(-)) after the slot.

    DEL-ToM (github.com/joel-wu/DEL-ToM) trains on turns that show earlier verdicts and scores prompts that do not;
    here both are the same sequence, without verdicts. Each part of it is tokenised alone, so that a step has the same
    tokens whatever follows, and special tokens spelled out in a text stay plain text.
    InvalidInput where + or - is not a single, known token, or the model is no causal one.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any) -> None:
        if model.config.is_encoder_decoder:
            raise InvalidInput("model", "is an encoder-decoder; choose a causal language model")
        self.model = model.eval()  # type: ignore[no-untyped-call]
        self.tokenizer = tokenizer
        self._verdicts = [self._single_token(word) for word in VERDICTS]
        self._slot = self._tokens(SLOT)

    def score(self, traces: Sequence[TraceText], cancel: CancelToken) -> list[list[float]]:
        """Scores of each trace's steps, one forward pass a trace; InvalidInput where one outgrows the model."""
        found = []
        with torch.no_grad():
            for trace in traces:
                cancel.check()
                found.append(self.margins([trace])[0].sigmoid().tolist())
        return found

    def score_claims(
        self,
        story: Story,
        question: Question,
        traces: Sequence[Sequence[str | None]],
        cancel: CancelToken | None = None,
    ) -> list[list[float]]:
        """As `ProcessBeliefModel.score_claims`. Equal traces are read once."""
        lines, containers = [line.text for line in story.lines], containers_of(story)
        told = [trace_text(lines, question, claims, containers) for claims in traces]
        distinct = list(dict.fromkeys(told))
        scores = dict(zip(distinct, self.score(distinct, cancel or CancelToken()), strict=True))
        return [scores[one] for one in told]

    def margins(self, traces: Sequence[TraceText]) -> list[Tensor]:
        """logit(+) - logit(-) after each step of each trace: [steps] float32 nats, differentiable."""
        encoded = [self.encode(trace) for trace in traces]
        longest = max(len(ids) for ids, _ in encoded)
        ids = torch.zeros(len(encoded), longest, dtype=torch.int64)
        attended = torch.zeros_like(ids)
        for row, (own, _) in enumerate(encoded):
            ids[row, : len(own)] = torch.tensor(own)
            attended[row, : len(own)] = 1
        # The head over the vocabulary costs as much as a layer: it is asked at slots alone.
        asked = sorted({slot for _, slots in encoded for slot in slots})
        place = {slot: index for index, slot in enumerate(asked)}
        device = self.model.device
        logits = self.model(
            input_ids=ids.to(device),
            attention_mask=attended.to(device),
            use_cache=False,
            logits_to_keep=torch.tensor(asked, device=device),
        ).logits
        plus, minus = self._verdicts
        difference = (logits[..., plus].float() - logits[..., minus].float()).cpu()
        return [difference[row, [place[slot] for slot in slots]] for row, (_, slots) in enumerate(encoded)]

    def encode(self, trace: TraceText) -> tuple[list[int], list[int]]:
        """Token ids of prompt, step, slot, step, slot ..., and the position of each slot's last token."""
        start = self.tokenizer.bos_token_id
        ids = ([] if start is None else [start]) + self._tokens(trace.prompt)
        slots = []
        for step in trace.steps:
            ids += self._tokens(step) + self._slot
            slots.append(len(ids) - 1)
        most = getattr(self.model.config, "max_position_embeddings", None)
        if most is not None and len(ids) > most:
            raise InvalidInput("trace", f"has {len(ids)} tokens, the model reads {most}; give a shorter story")
        return ids, slots

    def loss(self, traces: Sequence[TraceText], labels: Sequence[Sequence[bool]]) -> Tensor:
        """Binary cross-entropy of prefix labels, scalar nats a step.

        Of the two verdicts alone: the score never asks how likely any other token is.
        """
        margins = torch.cat(self.margins(traces))
        return F.binary_cross_entropy_with_logits(margins, torch.tensor([x for own in labels for x in own]).float())

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def _single_token(self, word: str) -> int:
        ids = self._tokens(word)
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise InvalidInput(
                "model", f"its tokenizer has no token for {word!r}; choose one that knows + and - as tokens"
            )
        return ids[0]
