"""What a backend computes with: sets of worlds, and the few operations that formulas are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from assay.cancel import CancelToken
from assay_tom_verifier.core.epistemic.formulas import Formula
from assay_tom_verifier.core.epistemic.models import EpistemicModel, EventModel


class WorldSet(Protocol):
    """A set of worlds in the backend's own form: an int as a bit set, or a decision diagram."""

    def __and__(self, other: Self, /) -> Self:
        """Worlds in both."""

    def __or__(self, other: Self, /) -> Self:
        """Worlds in either."""


SetT = TypeVar("SetT", bound=WorldSet)


@dataclass(frozen=True)
class Limits:
    """What an engine may hold before it raises ResourceExhausted.

    worlds: listed ones of a model, and |W| * |E| before a product of them is built. nodes: decision nodes of
    an engine's models together.
    """

    worlds: int = 1_000_000
    nodes: int = 250_000


@dataclass(frozen=True)
class Setting:
    """What every structure of one engine shares."""

    limits: Limits = field(default_factory=Limits)
    cancel: CancelToken = field(default_factory=CancelToken)


@dataclass(frozen=True)
class Meanings(Generic[SetT]):
    """Where the formulas of an event model are true in the model that it happens to: one entry for each event."""

    pre: Mapping[str, SetT]
    post: Mapping[str, Mapping[str, SetT]]


@dataclass(frozen=True)
class Product(Generic[SetT]):
    """A model after events, and for each event the worlds whose copy under it lies in a set of the new worlds."""

    structure: Structure[Any]
    pull_back: Callable[[Any, str], SetT]


class Structure(ABC, Generic[SetT]):
    """A pointed model in a backend's form. Immutable: updates make new ones."""

    agents: tuple[str, ...]
    atoms: tuple[str, ...]

    def __init__(self) -> None:
        # Formula by identity; the formula is kept, so that its id stays its own.
        self.known: dict[int, tuple[Formula, SetT]] = {}

    @property
    @abstractmethod
    def setting(self) -> Setting:
        """Caps and cancellation."""

    def poll(self) -> None:
        """Raises Cancelled where the work should stop; called between operations."""
        self.setting.cancel.check()

    @abstractmethod
    def everything(self) -> SetT:
        """The set of all worlds."""

    @abstractmethod
    def nothing(self) -> SetT:
        """The empty set."""

    @abstractmethod
    def atom(self, name: str) -> SetT:
        """Worlds where an atom is true."""

    @abstractmethod
    def complement(self, inner: SetT) -> SetT:
        """Worlds outside `inner`."""

    @abstractmethod
    def box(self, agent: str, inner: SetT) -> SetT:
        """Worlds all of whose successors for `agent` lie in `inner`."""

    @abstractmethod
    def box_distributed(self, agents: Sequence[str], inner: SetT) -> SetT:
        """Worlds all of whose successors for every one of `agents` at once lie in `inner`."""

    @abstractmethod
    def is_everything(self, inner: SetT) -> bool:
        """Whether all worlds lie in `inner`."""

    @abstractmethod
    def has_point(self, inner: SetT) -> bool:
        """Whether the actual world lies in `inner`."""

    @abstractmethod
    def restricted(self, inner: SetT) -> Self:
        """The model of the worlds in `inner` alone, over the same sets; the actual world must lie within."""

    @abstractmethod
    def product(self, events: EventModel, meanings: Meanings[SetT]) -> Product[SetT]:
        """The product update M x E: worlds (w, e) where e can happen at w; the point moves along events.point.

        Where it cannot happen at the point the product is good for `pull_back` alone.
        """

    @abstractmethod
    def updated(self, events: EventModel, meanings: Meanings[SetT], prune: bool) -> tuple[Structure[Any], int]:
        """The product, of the worlds that can be reached alone where `prune`; and how many the whole product has."""

    @abstractmethod
    def pruned(self) -> Structure[Any]:
        """Without the worlds that no chain of agents reaches from the actual one."""

    @abstractmethod
    def contracted(self) -> Structure[Any]:
        """The smallest bisimilar model of the worlds that can be reached."""

    @abstractmethod
    def count(self) -> int:
        """How many worlds there are, exactly."""

    @abstractmethod
    def nodes(self) -> int | None:
        """Decision nodes in use; None where there are none."""

    @abstractmethod
    def blind(self) -> tuple[str, ...]:
        """Agents who hold nothing possible at some world, so that their relation is no longer serial."""

    @abstractmethod
    def considered(self, chain: Sequence[str], atoms: Collection[str]) -> frozenset[frozenset[str]]:
        """Which of `atoms` are true together at the worlds that a chain of agents leads to from the actual one."""

    @abstractmethod
    def exported(self) -> EpistemicModel:
        """As a declaration of the strongest frame that it is of, worlds named w0, w1, ..., the actual one first."""
