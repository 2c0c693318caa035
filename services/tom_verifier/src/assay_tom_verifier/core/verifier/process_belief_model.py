"""The Process Belief Model of small networks: one pass scores every prefix of a trace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from assay.cancel import CancelToken
from assay.errors import DataLoss, InvalidInput, NotFound
from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.verifier.encode import encode_claims
from assay_tom_verifier.core.verifier.line_reader import WordNetwork
from assay_tom_verifier.core.verifier.network import BeliefNetwork, NetworkShape
from assay_tom_verifier.core.verifier.questions import Questions

FORMAT, WORD_FORMAT = "assay-belief-network-1", "assay-word-belief-network-1"
WEIGHTS, SHAPE = "model.safetensors", "shape.json"
MOST_TRACES = 4096
SLOTS_AT_ONCE = 2048  # some 50 ms of a core


class ProcessBeliefModel:
    """Scores steps: how likely it is that this step and all before it are right.

    score_k = sigmoid(logit(+) - logit(-)) at step k's belief slot, as DEL-ToM scores a prefix with the odds of its
    verdict tokens. A slot sees the question, the story's lines and the claims up to k: no later step, no label and no
    other score, so that the pass over the whole trace gives each prefix the score that it would get alone.
    """

    def __init__(self, network: BeliefNetwork) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def score(self, questions: Questions, claims: Tensor, cancel: CancelToken | None = None) -> Tensor:
        """claims: [B, N, T] int64 belief slots, N traces of each question; returns [B, N, T] float32 scores.

        Equal traces of a question are read once. Slots beyond a story's end get scores that mean nothing.
        """
        batch, traces, steps = claims.shape
        owners = torch.arange(batch).repeat_interleave(traces)
        rows, inverse = torch.unique(
            torch.cat((owners[:, None], claims.flatten(0, 1)), dim=1), dim=0, return_inverse=True
        )
        lines = self.network.embed_lines(questions.features)
        margins = []
        for part in rows.split(rows_at_once(steps)):
            if cancel is not None:
                cancel.check()
            _, slots = self.network.read_on(lines[part[:, 0]], part[:, 1:])
            margins.append(self.network.margins(slots))
        return torch.cat(margins).sigmoid()[inverse].view(batch, traces, steps)

    @torch.no_grad()
    def score_claims(
        self,
        story: Story,
        question: Question,
        traces: Sequence[Sequence[str | None]],
        cancel: CancelToken | None = None,
    ) -> list[list[float]]:
        """Scores of each trace's steps; traces: what each claims after the story's first lines, None for "nobody can
        tell yet". A trace may stop early; a claim that names no container of the story is scored as wrong ones are.
        Traces whose claims are the same are read once.

        InvalidInput for no or more than MOST_TRACES traces, for an empty one or one with more steps than the story.
        """
        if not 1 <= len(traces) <= MOST_TRACES:
            raise InvalidInput("traces", f"are {len(traces)}; give 1 to {MOST_TRACES}")
        encoded = self.network.encode(story, question)
        for index, trace in enumerate(traces):
            if not 1 <= len(trace) <= encoded.steps:
                raise InvalidInput(f"traces[{index}]", f"has {len(trace)} steps; give 1 to the story's {encoded.steps}")
        longest = max(map(len, traces))
        claims = torch.zeros(len(traces), longest, dtype=torch.int64)
        for row, trace in zip(claims, traces, strict=True):
            if cancel is not None:
                cancel.check()
            row[: len(trace)] = torch.from_numpy(encode_claims(trace, encoded.labels))
        distinct, inverse = torch.unique(claims, dim=0, return_inverse=True)
        lines = self.network.embed_lines(torch.from_numpy(encoded.features[: 1 + longest]))
        found: list[list[float]] = []
        for part in distinct.split(rows_at_once(longest)):
            if cancel is not None:
                cancel.check()
            _, slots = self.network.read_on(lines.expand(len(part), -1, -1), part)
            found += self.network.margins(slots).sigmoid().tolist()
        return [found[index][: len(trace)] for index, trace in zip(inverse.tolist(), traces, strict=True)]


def rows_at_once(steps: int) -> int:
    """How many traces of that many steps are read between two looks at whether the caller still waits."""
    return max(1, SLOTS_AT_ONCE // steps)


def save_network(network: BeliefNetwork, folder: Path) -> None:
    """Writes model.safetensors and shape.json, which also holds the words of a network that reads."""
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, object] = {"format": FORMAT, **network.shape.to_json()}
    if isinstance(network, WordNetwork):
        facts |= {"format": WORD_FORMAT, "vocabulary": network.vocabulary}
    save_file({name: value.detach().contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS)
    (folder / SHAPE).write_text(json.dumps(facts, sort_keys=True) + "\n")


def load_network(folder: Path) -> BeliefNetwork:
    """The network that `save_network` wrote; NotFound, or DataLoss where its files are none of ours."""
    if not (folder / WEIGHTS).is_file() or not (folder / SHAPE).is_file():
        raise NotFound(f"model: {WEIGHTS} and {SHAPE} are missing; train one or name another artifact")
    try:
        facts = json.loads((folder / SHAPE).read_text())
        form, vocabulary = facts.pop("format"), facts.pop("vocabulary", None)
        if form not in (FORMAT, WORD_FORMAT):
            raise DataLoss(f"model: {SHAPE} is of another format than {FORMAT} or {WORD_FORMAT}; train it anew")
        shape = NetworkShape(**facts)
        network = BeliefNetwork(shape) if form == FORMAT else WordNetwork(shape, tuple(vocabulary))
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise DataLoss("model: its files do not fit together; store it again") from error
    return network.eval()
