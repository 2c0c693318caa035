"""What a language model answers about beliefs, by order, and what an exact verifier behind it could make of that."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from assay.cancel import CancelToken
from assay.errors import DataLoss, InvalidInput, Unimplemented
from assay.models.language_model import LanguageModel, Score
from assay.progress import Progress, silent
from assay_tom_verifier.core.answer_odds import nats_after
from assay_tom_verifier.core.stories.events import Locate, Move
from assay_tom_verifier.core.stories.generate import GeneratedQuestion, GeneratedStory, generate_stories

DOCUMENT = "probe.json"
AGENTS = 4  # as many as orders of belief: each chain is of distinct agents
MANY = 10_000  # stories drawn at most for those with something to choose


@dataclass(frozen=True)
class OrderResult:
    """All questions of one order; shares in [0, 1], each a mean over stories.

    alone: probability that one answer is right, drawn from the model's odds over the story's containers; low, high:
    its 95 % t interval over stories. above: whether its lead over even odds, taken story by story, is above zero at
    99 % (95 % over five orders together). verified: that any of `samples` such answers is right: what a verifier that
    knows the rules can reach, and none can pass. chance, chance_verified: the same of even odds. latest: of always
    naming the container named last.
    """

    order: int
    alone: float
    low: float
    high: float
    above: bool
    verified: float
    chance: float
    chance_verified: float
    latest: float


@dataclass(frozen=True)
class BeliefProbe:
    """orders: from 0. tokens_per_answer: read by the model for one answer of several, mean. latest: as of orders."""

    stories: int
    samples: int
    tokens_per_answer: float
    orders: tuple[OrderResult, ...]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> BeliefProbe:
        """DataLoss where it is none."""
        try:
            document: dict[str, Any] = json.loads(data)
            orders = tuple(OrderResult(**one) for one in document.pop("orders"))
            return cls(orders=orders, **document)
        except (ValueError, KeyError, TypeError) as error:
            raise DataLoss("belief probe cannot be read; probe the model again") from error


def probe_beliefs(
    model: LanguageModel,
    *,
    stories: int,
    samples: int,
    seed: int,
    cancel: CancelToken,
    progress: Progress = silent,
) -> BeliefProbe:
    """Asks a model where chains of agents think an object is, by the odds that it gives the story's containers.

    stories: of one chapter, without claims or noise, in which the object was in two containers at least. The odds are
    those of the container's whole name after the question, so that a model need not know how to stop.
    Raises Unimplemented for a model whose context holds no such story, and what the port raises.
    """
    told = list(islice(_with_a_choice(seed), stories))
    found: list[dict[int, tuple[float, float, float]]] = []
    tokens = answers = 0
    for index, story in enumerate(told):
        cancel.check()
        containers = _containers(story)
        prompts = [_prompt(story, question) for question in story.questions]
        texts = [f"{prompt} {container}" for prompt in prompts for container in containers]
        scores = _scored(model, texts, cancel)
        tokens += sum(len(score.tokens) for score in scores)
        answers += len(texts)
        by_order = {}
        for number, question in enumerate(story.questions):
            own = scores[number * len(containers) : (number + 1) * len(containers)]
            start = len(prompts[number].encode())
            right = question.answer.container
            odds = _odds([nats_after(score, start) for score in own])
            p = odds[containers.index(right)] if right in containers else 0.0
            by_order[question.question.order] = (p, 1 / len(containers), float(_latest(story) == right))
        found.append(by_order)
        progress(index + 1, stories, "stories")
    orders = tuple(_result(order, [row[order] for row in found], samples) for order in sorted(found[0]))
    return BeliefProbe(len(found), samples, tokens / answers, orders)


def _with_a_choice(seed: int) -> Iterator[GeneratedStory]:
    for story in generate_stories(MANY, seed, noise=0.0, agents=AGENTS):
        if len(_containers(story)) > 1:
            yield story


def _scored(model: LanguageModel, texts: Sequence[str], cancel: CancelToken) -> list[Score]:
    try:
        return model.score(texts, cancel=cancel)
    except InvalidInput as error:  # the texts are ours: all that can be wrong with them is their length
        raise Unimplemented(f"model: its context holds no story and question; {error.message}") from None


def _prompt(story: GeneratedStory, question: GeneratedQuestion) -> str:
    return f"{story.text}\nQuestion: {question.text}\nAnswer: the {question.question.thing} is in the"


def _containers(story: GeneratedStory) -> list[str]:
    """Those that the object was in, in order."""
    events = (line.event for line in story.story.lines)
    return list(dict.fromkeys(event.container for event in events if isinstance(event, Locate | Move)))


def _latest(story: GeneratedStory) -> str:
    events = (line.event for line in story.story.lines)
    return [event.container for event in events if isinstance(event, Locate | Move)][-1]


def _odds(nats: Sequence[float]) -> list[float]:
    top = max(nats)
    weights = [math.exp(each - top) for each in nats]
    return [weight / sum(weights) for weight in weights]


def _result(order: int, rows: Sequence[tuple[float, float, float]], samples: int) -> OrderResult:
    alone = [p for p, _, _ in rows]
    mean, half = _interval(alone, 0.975)
    lead, lead_half = _interval([p - chance for p, chance, _ in rows], 0.995)
    return OrderResult(
        order,
        mean,
        max(0.0, mean - half),
        min(1.0, mean + half),
        lead > lead_half,
        fmean(1 - (1 - p) ** samples for p in alone),
        fmean(chance for _, chance, _ in rows),
        fmean(1 - (1 - chance) ** samples for _, chance, _ in rows),
        fmean(latest for _, _, latest in rows),
    )


def _interval(values: Sequence[float], quantile: float) -> tuple[float, float]:
    """Mean and half of the t interval; of one value the half is infinite."""
    if len(values) < 2:
        return values[0], math.inf
    return fmean(values), float(stats.t.ppf(quantile, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
