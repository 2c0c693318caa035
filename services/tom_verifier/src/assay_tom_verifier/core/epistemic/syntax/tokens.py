"""Words and signs of a text, each with its place."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from assay.cancel import CancelToken
from assay.errors import InvalidInput

# `end` and the end of the text are tokens of their own kind, so that no reader runs past either.
NAME, SIGN, NEWLINE, END = "name", "sign", "newline", "end of text"

# In place of a relation's arrows, where nobody sees anything: an empty list of classes is the identity.
NO_ARROWS = "none"

_TOKEN = re.compile(r"(?P<skip>[^\S\n]+|#[^\n]*)|(?P<newline>\n)|(?P<name>\w+)|(?P<sign><->|->|:=|[()\[\]{},:;&|!*])")
_OPENING, _CLOSING = "([{", ")]}"
# A line that ends in one of these goes on; after `]` there is always a formula.
_UNFINISHED = frozenset(["<->", "->", ":=", ",", "&", "|", "!", "]"])


@dataclass(frozen=True)
class Token:
    """line and column count from 1; start and end are places in the text."""

    kind: str
    text: str
    line: int
    column: int
    start: int
    end: int


def tokenize(text: str, field: str, cancel: CancelToken | None = None) -> list[Token]:
    """Raises InvalidInput at the first character that no word or sign begins with. cancel: polled line by line."""
    text = text.replace("\r\n", "\n")
    tokens: list[Token] = []
    line, line_start, place, depth = 1, 0, 0, 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise error_at(field, line, place - line_start + 1, f"{text[place]!r} begins no word or sign; take it out")
        kind, word = match.lastgroup, match.group()
        token = Token(str(kind), word, line, place - line_start + 1, place, match.end())
        place = match.end()
        if kind == NEWLINE:
            if cancel is not None:
                cancel.check()
            line, line_start = line + 1, place
            unfinished = tokens and tokens[-1].kind == SIGN and tokens[-1].text in _UNFINISHED
            if depth == 0 and tokens and tokens[-1].kind != NEWLINE and not unfinished:
                tokens.append(token)
        elif kind != "skip":
            if word in _OPENING:
                depth += 1
            elif word in _CLOSING:
                depth = max(0, depth - 1)
            tokens.append(token)
    if tokens and tokens[-1].kind != NEWLINE:
        tokens.append(Token(NEWLINE, "\n", line, place - line_start + 1, place, place))
    tokens.append(Token(END, "", line, place - line_start + 1, place, place))
    return tokens


def error_at(field: str, line: int, column: int, description: str) -> InvalidInput:
    return InvalidInput(field, f"line {line}, column {column}: {description}", reason="SYNTAX")


class Reader:
    """Tokens read one after another. field: the request's, for messages."""

    def __init__(self, text: str, field: str, cancel: CancelToken | None = None) -> None:
        self.text, self.field = text.replace("\r\n", "\n"), field
        self._tokens = tokenize(text, field, cancel)
        self._next = 0

    @property
    def token(self) -> Token:
        return self._tokens[self._next]

    def ahead(self, sign: str) -> bool:
        """Whether the token after this one is `sign`."""
        following = self._tokens[min(self._next + 1, len(self._tokens) - 1)]
        return following.kind == SIGN and following.text == sign

    def take(self) -> Token:
        token = self.token
        if token.kind != END:
            self._next += 1
        return token

    def at(self, *signs: str) -> bool:
        return self.token.kind == SIGN and self.token.text in signs

    def at_word(self, *words: str) -> bool:
        return self.token.kind == NAME and self.token.text in words

    def accept(self, sign: str) -> bool:
        if self.at(sign):
            self.take()
            return True
        return False

    def accept_word(self, word: str) -> bool:
        if self.at_word(word):
            self.take()
            return True
        return False

    def expect(self, sign: str) -> Token:
        if not self.at(sign):
            raise self.error(f"expected {sign!r}, found {self.found}")
        return self.take()

    def expect_word(self, word: str) -> Token:
        if not self.at_word(word):
            raise self.error(f"expected {word!r}, found {self.found}")
        return self.take()

    def name(self, what: str, known: Collection[str] | None = None) -> str:
        """A word; known: those it may be."""
        if self.token.kind != NAME:
            raise self.error(f"expected {what}, found {self.found}")
        if known is not None and self.token.text not in known:
            raise self.error(f"{self.token.text} is no {what} that is declared; declare it, or mend the name")
        return self.take().text

    def names(self, what: str, known: Collection[str] | None = None) -> list[str]:
        """One word or more, with commas between."""
        found = [self.name(what, known)]
        while self.accept(","):
            found.append(self.name(what, known))
        return found

    def end_line(self) -> None:
        if self.token.kind not in (NEWLINE, END):
            raise self.error(f"expected the line to end, found {self.found}")
        self.take()

    @property
    def found(self) -> str:
        token = self.token
        return {NEWLINE: "the end of the line", END: "the end of the text"}.get(token.kind, repr(token.text))

    def error(self, description: str, token: Token | None = None) -> InvalidInput:
        token = token or self.token
        return error_at(self.field, token.line, token.column, description)
