"""Words of others on a terminal: without control characters, which could move the cursor or hide what follows."""

from __future__ import annotations

import unicodedata

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
# Joiners that scripts and emoji are written with.
_NEEDED = frozenset("\u200c\u200d")


def plain(text: str) -> str:
    """`text` with control, direction and unassigned characters as U+FFFD; line ends and tabs stay."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(character) in _HARMFUL and character not in "\n\t" and character not in _NEEDED
        else character
        for character in text
    )


def one_line(text: str) -> str:
    """`plain` on one line, runs of white space as one blank."""
    return plain(" ".join(text.split()))
