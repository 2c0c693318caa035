"""Children see the mud on each other's foreheads and not on their own.

Fagin, Halpern, Moses and Vardi, Reasoning about Knowledge (1995), chapter 1.
"""

from __future__ import annotations


def muddy_children(children: int, muddy: int | None = None) -> str:
    """Father says that some are muddy; then nobody knows, again and again, until somebody does. muddy: None for all.

    With k muddy children that takes k announcements, father's among them, and the muddy know.
    """
    count = children if muddy is None else muddy
    names = [f"child{i}" for i in range(1, children + 1)]
    mud = [f"muddy{i}" for i in range(1, children + 1)]
    pairs = list(zip(names, mud, strict=True))
    lines = [
        f"# {children} children, {count} of them muddy.",
        "structure",
        f"  agents {', '.join(names)}",
        f"  atoms {', '.join(mud)}",
        *(f"  observes {name}: all but {own}" for name, own in pairs),
        f"  actual {', '.join(mud[:count])}",
        "end",
        "",
        f"define somebody_knows: {' | '.join(f'Kw[{name}] {own}' for name, own in pairs)}",
        f"announce {' | '.join(mud)}",
        "repeat announce !somebody_knows until somebody_knows",
        f"claim {' & '.join(f'K[{name}] {own}' for name, own in pairs[:count])}",
    ]
    if count < children:
        lines.append(f"claim {' & '.join(f'!Kw[{name}] {own}' for name, own in pairs[count:])}")
    return "\n".join(lines) + "\n"
