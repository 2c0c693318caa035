"""One request under way: what it asks for, what it has read so far, and what it tells whoever waits for it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import Cache

from assay.cancel import CancelToken
from assay.errors import AssayError
from assay.models.language_model import FinishReason
from assay_inference_optimizer.core.generation.answer_text import AnswerText
from assay_inference_optimizer.core.generation.sampling import Sampling


@dataclass
class Context:
    """What a model has read: a cache that nobody else holds, and how to go on from it.

    cache: keys and values of batch 1. pending: tokens that follow and are not in it yet. history: those in it.
    logits: [V] float32 on the CPU, of the last token read; None where one is pending, or none was read.
    """

    cache: Cache
    pending: list[int] = field(default_factory=list)
    history: list[int] = field(default_factory=list)
    logits: Tensor | None = None

    @property
    def read(self) -> int:
        """Tokens in the cache."""
        return len(self.history)

    @property
    def tokens(self) -> int:
        return self.read + len(self.pending)

    def took(self, tokens: int) -> None:
        """The cache holds that many more."""
        self.history += self.pending[:tokens]
        del self.pending[:tokens]

    def begin_again(self, cache: Cache) -> None:
        """With an empty cache, which is to read all of it."""
        self.pending = [*self.history, *self.pending]
        self.cache, self.history, self.logits = cache, [], None


@dataclass(frozen=True)
class Alternative:
    """log_probability: nats."""

    token: int
    log_probability: float


@dataclass(frozen=True)
class NewToken:
    """A token of an answer. log_probability: nats under the model itself. layers: computed of it. text: added by it.

    density: attended over causal pairs, mean over layers, since the cache began; 1 for dense attention.
    """

    token: int
    log_probability: float
    text: str
    layers: int
    density: float = 1.0
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Ended:
    """The last event of a request. text: what was held back. densities, fallbacks: by layer, empty where dense.

    finish_reason: None where only the prompt was read. drafted, accepted: tokens, in self-speculation. dense_retry:
    whether sparse attention gave no numbers, and all was read again densely.
    """

    finish_reason: FinishReason | None
    text: str = ""
    prompt_tokens: int = 0
    generated_tokens: int = 0
    densities: Mapping[int, float] = field(default_factory=dict)
    fallbacks: Mapping[int, str] = field(default_factory=dict)
    drafted: int = 0
    accepted: int = 0
    dense_retry: bool = False


@dataclass(frozen=True)
class Drafted:
    """What one turn of early exit gives: nothing while a prompt is read. layers: computed of each token."""

    tokens: Sequence[int]
    log_probabilities: Sequence[float]
    layers: Sequence[int]
    drafted: int = 0
    accepted: int = 0


Event = NewToken | Ended


class Request:
    """One answer to be given from `context`. The loop fills `events`; whoever waits reads them.

    sampling: None to read the prompt only. drafts: answers it in place of the loop's own steps. on_end: called once,
    when nothing is computed for it any more.
    """

    def __init__(
        self,
        context: Context,
        sampling: Sampling | None,
        cancel: CancelToken,
        text: AnswerText,
        drafts: Iterator[Drafted] | None = None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.context = context
        self.sampling = sampling
        self.cancel = cancel
        self.text = text
        self.drafts = drafts
        self._on_end = on_end
        self.prompt_tokens = context.tokens
        self.generated: list[int] = []
        self.drafted = self.accepted = 0
        self.ended = self.dense_retry = False
        self.random = torch.Generator()
        if sampling is not None:
            self.random.manual_seed(sampling.seed)
        self._abandoned = False
        # An answer that goes on where another ended has that one's last token to read, and is answering already.
        self._answers = sampling is not None and context.read > 0 and len(context.pending) == 1
        self._events: queue.SimpleQueue[Event | AssayError] = queue.SimpleQueue()

    @property
    def reading(self) -> bool:
        """Whether a prompt, or all there is once more, is being read, rather than an answer's newest token."""
        return len(self.context.pending) > self._answers

    def tell(self, event: NewToken) -> None:
        self._answers = True
        self._events.put(event)

    def end(self, last: Ended | AssayError) -> None:
        if not self.ended:
            self.ended = True
            self._on_end()
            self._events.put(last)

    def check(self) -> None:
        """Raises Cancelled or DeadlineExceeded once nobody waits any more."""
        if self._abandoned:
            self.cancel.cancel()
        self.cancel.check()

    def events(self) -> Iterator[Event]:
        """Until Ended. Raises the AssayError that the request failed with; leaving early stops it."""
        try:
            while True:
                event = self._events.get()
                if isinstance(event, AssayError):
                    raise event
                yield event
                if isinstance(event, Ended):
                    return
        finally:
            self._abandoned = True
