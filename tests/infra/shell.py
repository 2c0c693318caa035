"""The commands in a document's shell blocks, one by one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NESTED = re.compile(r"\$\(([^()]*)\)")
ASSIGNMENT = re.compile(r"^([A-Z]+)=(\S+)$", re.MULTILINE)
ENDS = {";", "|", "||", "&", "&&", "(", ")", "do", "done"}


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command in `text`'s blocks, those inside $(...) too.

    Variables that a block sets in capitals are put in; an assignment or a redirection stays a word.
    """
    blocks = BLOCK.findall(text)
    variables: dict[str, str] = {}
    for block in blocks:
        for name, value in ASSIGNMENT.findall(block):
            variables[name] = _filled(value, variables)
    for block in blocks:
        yield from _split(_filled(block.replace("\\\n", " "), variables))


def _filled(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$([A-Z]+)\b", lambda found: variables.get(found[1], found[0]), text)


def _split(text: str) -> Iterator[list[str]]:
    for nested in NESTED.findall(text):
        yield from _split(nested)
    for line in re.sub(r"\|\n", "| ", NESTED.sub("NESTED", text)).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in ENDS:
                if words:
                    yield words
                words = []
            else:
                words.append(word)
