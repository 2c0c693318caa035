"""An answer's text as it grows token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
Decode = Callable[[list[int]], str]


class AnswerText:
    """Gives out text only once later tokens cannot change it, and nothing at or behind a stop text.

    decode: tokens to text. A character of several tokens comes with its last one; what may be the beginning of a
    stop text is held back until it is not.
    """

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._held = ""
        self._tokens: list[int] = []
        # Tokens before `_read` have become text; decoding starts at `_context`, since a token's text may depend on
        # the one before it (a leading space).
        self._context = self._read = 0
        self.stopped = False

    def add(self, token: int) -> str:
        """What can be given out now; sets `stopped` where a stop text is complete."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._context : self._read])
        whole = self._decode(self._tokens[self._context :])
        if whole.endswith(UNFINISHED) and len(self._tokens) - self._read < 8:
            return ""
        self._context, self._read = self._read, len(self._tokens)
        return self._give(whole[len(before) :])

    def finish(self) -> str:
        """The rest, at the answer's end."""
        if self.stopped:
            return ""
        before = self._decode(self._tokens[self._context : self._read])
        rest = self._decode(self._tokens[self._context :])[len(before) :]
        given = self._give(rest)
        if self.stopped:
            return given
        held, self._held = self._held, ""
        return given + held

    def _give(self, more: str) -> str:
        text = self._held + more
        found = [place for place in map(text.find, self._stop) if place >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def spelled(decode: Decode, tokens: Sequence[int]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text that `tokens` spell, and the (start, end) bytes of its UTF-8 that each covers.

    A token that holds part of a character covers all of it.
    """
    text = AnswerText(decode)
    pieces = [text.add(token) for token in tokens]
    pieces.append(text.finish())
    marks = list(accumulate((len(piece.encode()) for piece in pieces), initial=0))
    # Nothing is given out with a token whose character is still to be completed: it reaches to where that ends.
    reached, offsets = marks[-1], []
    for start, end in zip(reversed(marks[:-2]), reversed(marks[1:-1]), strict=True):
        reached = end if end > start else reached
        offsets.append((start, reached))
    return "".join(pieces), tuple(reversed(offsets))


def _overlap(text: str, stop: str) -> int:
    """How many of the text's last characters may begin `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
