"""Early exit in the batching loop: a long prompt is read in turns with everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from unit.inference_optimizer.generation.conftest import VOCABULARY

from assay.cancel import CancelToken
from assay.errors import Cancelled
from assay_inference_optimizer.core.early_exit import prompt as early_exit_prompt
from assay_inference_optimizer.core.early_exit import speculative
from assay_inference_optimizer.core.generation import forward, loop
from assay_inference_optimizer.core.generation.answer_text import AnswerText
from assay_inference_optimizer.core.generation.request import Context, Drafted, NewToken, Request
from assay_inference_optimizer.core.generation.sampling import Sampling
from assay_inference_optimizer.core.generation.served_model import ServedModel

Served = Callable[[str], ServedModel]
PIECE = 16
LONG = torch.randint(0, VOCABULARY, (360,), generator=torch.Generator().manual_seed(2)).tolist()


def asked(model: ServedModel, ids: list[int], new: int, *, early: bool) -> Request:
    context, cancel = Context(model.new_cache(None), pending=list(ids)), CancelToken()
    sampling = Sampling(new, temperature=0.0, ignore_end=True)

    def drafts() -> Iterator[Drafted]:
        for found in speculative.speculate(
            model.model, torch.tensor([ids]), 1, new, cancel=cancel, cache=context.cache
        ):
            yield Drafted(found.tokens, found.log_probabilities, [3] * len(found.tokens))

    return Request(context, sampling, cancel, AnswerText(model.decode), drafts() if early else None)


def tokens(request: Request) -> list[int]:
    return [event.token for event in request.events() if isinstance(event, NewToken)]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (loop, forward, speculative):
        monkeypatch.setattr(module, "PREFILL_TOKENS", PIECE)


@pytest.mark.usefixtures("small_pieces")
def test_an_early_exit_prompt_does_not_hold_up_answers(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served("llama")
    alone = asked(model, LONG, 6, early=False)
    model.loop.submit(alone)
    expected = tokens(alone)
    order: list[str] = []
    tell, draft = model.loop._tell, model.loop._draft

    def telling(row: Request, *arguments: object, **named: object) -> None:
        order.append("t" if row.drafts is None else "d")
        tell(row, *arguments, **named)  # type: ignore[arg-type]

    def drafting(row: Request) -> None:
        order.append("r")
        draft(row)

    short = asked(model, [1, 2], 300, early=False)
    long = [asked(model, LONG, 6, early=True) for _ in range(2)]
    model.loop.submit(short)
    events = short.events()
    assert isinstance(next(events), NewToken)  # it answers; now come the long ones
    monkeypatch.setattr(model.loop, "_tell", telling)
    monkeypatch.setattr(model.loop, "_draft", drafting)
    for request in long:
        model.loop.submit(request)
    assert [tokens(request) for request in long] == [expected, expected]
    short.cancel.cancel()
    with pytest.raises(Cancelled):
        list(events)
    # Until the first drafted token 23 pieces were read, one a turn however many wait, a token of the short one between.
    before = "".join(order).partition("d")[0]
    assert before.count("r") >= 23
    assert max(map(len, before.split("t"))) == 1


@pytest.mark.usefixtures("small_pieces")
def test_a_prompt_that_is_being_read_can_be_cancelled(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served("llama")
    request = asked(model, LONG, 6, early=True)
    read = early_exit_prompt.read_prompt

    def cancelled_after_two(*arguments: object) -> Iterator[torch.Tensor]:
        for piece, hidden in enumerate(read(*arguments)):  # type: ignore[arg-type]
            if piece == 1:
                request.cancel.cancel()
            yield hidden

    monkeypatch.setattr(speculative, "read_prompt", cancelled_after_two)
    model.loop.submit(request)
    with pytest.raises(Cancelled):
        tokens(request)
    assert request.context.cache.get_seq_length() == 2 * PIECE
