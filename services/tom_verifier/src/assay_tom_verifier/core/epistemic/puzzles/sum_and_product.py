"""One knows the sum of two numbers, the other their product.

Freudenthal (1969); as announcements, Van Ditmarsch, Ruan and Verbrugge, Sum and Product in Dynamic Epistemic Logic
(2008).
"""

from __future__ import annotations

from collections.abc import Callable


def sum_and_product(highest: int) -> str:
    """1 < x < y and x + y <= `highest`. "I knew that you do not know them." - "Now I do." - "Now I do too."

    Only 4 and 13 let all three be true where `highest` is 100; they are the actual numbers where it allows them.
    """
    pairs = [(x, y) for x in range(2, highest) for y in range(x + 1, highest - x + 1)]
    actual = (4, 13) if (4, 13) in pairs else pairs[-1]
    lows = sorted({x for x, _ in pairs})
    highs = sorted({y for _, y in pairs})

    def world(x: int, y: int) -> str:
        return f"w{x}_{y}"

    def classes(value: Callable[[int, int], int]) -> str:
        alike: dict[int, list[str]] = {}
        for x, y in pairs:
            alike.setdefault(value(x, y), []).append(world(x, y))
        return " ".join(f"{{{', '.join(worlds)}}}" for worlds in alike.values())

    # Whoever knows one of the two numbers beside the sum or the product knows both.
    knows = {agent: " | ".join(f"K[{agent}] x{x}" for x in lows) for agent in ("sum", "product")}
    lines = [
        f"# Two different numbers above 1 whose sum is {highest} at most: {actual[0]} and {actual[1]}.",
        "model",
        "  frame S5",
        "  agents sum, product",
        f"  atoms {', '.join([f'x{x}' for x in lows] + [f'y{y}' for y in highs])}",
        *(f"  world {world(x, y)}: x{x}, y{y}" for x, y in pairs),
        f"  relation sum: {classes(lambda x, y: x + y)}",
        f"  relation product: {classes(lambda x, y: x * y)}",
        f"  point {world(*actual)}",
        "end",
        "",
        f"define sum_knows: {knows['sum']}",
        f"define product_knows: {knows['product']}",
        "announce K[sum] !product_knows",
        "announce product_knows",
        "announce sum_knows",
        f"claim x{actual[0]} & y{actual[1]}",
        f"claim C[sum, product] (x{actual[0]} & y{actual[1]})",
    ]
    return "\n".join(lines) + "\n"
