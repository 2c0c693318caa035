"""Who paid for dinner? One of the cryptographers, or none, and nobody learns which one (Chaum 1988)."""

from __future__ import annotations


def dining_cryptographers(diners: int) -> str:
    """Diner i sees the coins i and i + 1 of a ring, and says whether they differ, or the opposite having paid.

    The first has paid. After all have spoken it is common knowledge that one has, and nobody else knows who.
    """
    numbers = list(range(1, diners + 1))
    names = [f"diner{i}" for i in numbers]
    paid = [f"paid{i}" for i in numbers]
    after = {i: i % diners + 1 for i in numbers}
    at_most_one = " & ".join(f"!(paid{i} & paid{j})" for i in numbers for j in numbers if i < j)
    # Side by side what belongs to one diner, so that diagrams of the parities stay narrow.
    atoms = ", ".join(f"paid{i}, coin{i}" for i in numbers)
    unknown = [f"!K[diner{i}] paid{j} & !K[diner{i}] !paid{j}" for i in numbers[1:] for j in numbers if j != i]
    lines = [
        f"# {diners} cryptographers; the first has paid.",
        "structure",
        f"  agents {', '.join(names)}",
        f"  atoms {atoms}",
        f"  law {at_most_one}",
        *(f"  observes diner{i}: paid{i}, coin{i}, coin{after[i]}" for i in numbers),
        "  actual paid1, coin1",
        "end",
        "",
        *(f"announce whether (coin{i} <-> coin{after[i]}) <-> paid{i}" for i in numbers),
        f"claim C[{', '.join(names)}] ({' | '.join(paid)})",
        f"claim {' & '.join(unknown)}",
    ]
    return "\n".join(lines) + "\n"
