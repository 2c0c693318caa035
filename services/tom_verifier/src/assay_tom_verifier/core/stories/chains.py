"""Which chains of agents may be asked about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, product

from assay.errors import InvalidInput
from assay_tom_verifier.core.stories.beliefs import Chain
from assay_tom_verifier.core.stories.events import Story

MOST_ORDER = 4


def check_chain(chain: Chain, field: str = "chain") -> None:
    """Raises InvalidInput for more than MOST_ORDER agents, and for one who thinks about their own thinking.

    What Owen thinks that Owen thinks is what Owen thinks (KD45), so asking it apart is a slip.
    """
    if len(chain) > MOST_ORDER:
        raise InvalidInput(field, f"is of order {len(chain)}; ask up to {MOST_ORDER}")
    for first, second in pairwise(chain):
        if first == second:
            raise InvalidInput(field, f"names {first} twice in a row; name each agent's thinking once")


def check_asked(story: Story, chains: Iterable[Chain], thing: str) -> None:
    """Raises InvalidInput as `check_chain` does, and for agents or an object that the story lacks."""
    agents = frozenset(story.agents)
    for chain in chains:
        check_chain(chain)
        for agent in chain:
            if agent not in agents:
                raise InvalidInput("chain", f"{agent} never enters the story; ask about {_some(story.agents)}")
    if thing not in story.things:
        raise InvalidInput("thing", f"{thing} is nowhere in the story; ask about {_some(story.things)}")


def all_chains(agents: Sequence[str], order: int) -> list[Chain]:
    """Every chain of up to `order` agents in which nobody follows themselves, shortest first."""
    return [chain for length in range(order + 1) for chain in product(agents, repeat=length) if no_repeats(chain)]


def no_repeats(chain: Chain) -> bool:
    """Whether nobody in the chain follows themselves."""
    return all(first != second for first, second in pairwise(chain))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "what a story names"
