"""Requests and answers made of local text: the head of a passage is asked about, the rest of it is the answer.

For code that is a function's signature, to be given its body; for prose a first line, to be gone on with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.cancel import CancelToken
from assay.zoo.passages import tokenised
from assay.zoo.tokenizer import END_ID

REQUEST, ANSWER = "### Request: complete\n", "### Answer:\n"


@dataclass(frozen=True)
class Instruction:
    """request, answer: token ids; the request ends with the mark that an answer begins, the answer with the end."""

    request: list[int]
    answer: list[int]


def instruction(passage: str) -> tuple[str, str] | None:
    """(request, answer) of a passage; None where it has but one line."""
    head, _, rest = passage.partition("\n")
    if not head.strip() or not rest.strip():
        return None
    return f"{REQUEST}{head}\n{ANSWER}", rest


def instructions(passages: list[str], tokenizer: Any, *, cancel: CancelToken) -> list[Instruction]:
    """Of all passages of two lines or more. InvalidInput where there is none."""
    pairs = [pair for pair in map(instruction, passages) if pair is not None]
    requests, answers = (tokenised([pair[part] for pair in pairs], tokenizer, cancel=cancel) for part in (0, 1))
    return [Instruction(request, [*answer, END_ID]) for request, answer in zip(requests, answers, strict=True)]


def instruct_batch(
    pairs: list[Instruction], batch: int, tokens: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sequences full of pairs drawn at random: ids [batch, tokens], and which predicted tokens [batch, tokens - 1]
    belong to an answer."""
    rows, answered = [], []
    for _ in range(batch):
        ids: list[int] = []
        is_answer: list[bool] = []
        while len(ids) < tokens:
            pair = pairs[int(torch.randint(len(pairs), (), generator=generator))]
            ids += pair.request + pair.answer
            is_answer += [False] * len(pair.request) + [True] * len(pair.answer)
        rows.append(ids[:tokens])
        answered.append(is_answer[1:tokens])
    return torch.tensor(rows), torch.tensor(answered)
