"""The batching loop on every family: alone, in company, against a plain forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import DynamicCache
from unit.inference_optimizer.generation.conftest import FAMILIES, VOCABULARY

from assay.cancel import CancelToken
from assay.errors import Cancelled, DeadlineExceeded
from assay_inference_optimizer.core.generation import forward, loop
from assay_inference_optimizer.core.generation.answer_text import AnswerText
from assay_inference_optimizer.core.generation.cache_facts import held_bytes
from assay_inference_optimizer.core.generation.forward import read_tokens, step_together
from assay_inference_optimizer.core.generation.request import Context, Ended, NewToken, Request
from assay_inference_optimizer.core.generation.sampling import Sampling
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.sparse.config import SparseConfig

# Largest seen is 1.5e-5; a neighbour's keys, or a position off by one, moves these by whole nats.
NATS = 2e-4
SPARSE = SparseConfig(block_size=16, sink_tokens=16, window_tokens=16, target_density=0.5, dense_layers=1)
Served = Callable[[str], ServedModel]


def prompts() -> list[list[int]]:
    """One token, less than a window, more than one, several blocks."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, VOCABULARY, (count,), generator=generator).tolist() for count in (1, 5, 40, 90)]


def asked(
    model: ServedModel, ids: Sequence[int], new: int, sparse: SparseConfig | None = None, seed: int = 0
) -> Request:
    sampling = Sampling(new, temperature=0.7, seed=seed, ignore_end=True)
    context = Context(model.new_cache(sparse), pending=list(ids))
    return Request(context, sampling, CancelToken(), AnswerText(model.decode))


def answers(model: ServedModel, requests: Sequence[Request]) -> list[tuple[list[int], list[float]]]:
    for one in requests:
        model.loop.submit(one)
    found = []
    for one in requests:
        tokens = [event for event in one.events() if isinstance(event, NewToken)]
        found.append(([event.token for event in tokens], [event.log_probability for event in tokens]))
    return found


@pytest.mark.parametrize("sparse", [None, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_is_its_own_in_any_company(served: Served, family: str, sparse: SparseConfig | None) -> None:
    model = served(family)
    alone = [answers(model, [asked(model, ids, 20 + 4 * n, sparse, n)])[0] for n, ids in enumerate(prompts())]
    together = answers(model, [asked(model, ids, 20 + 4 * n, sparse, n) for n, ids in enumerate(prompts())])
    for (tokens, nats), (mine, my_nats) in zip(together, alone, strict=True):
        assert tokens == mine
        assert nats == pytest.approx(my_nats, abs=NATS)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_is_that_of_a_plain_pass(served: Served, family: str) -> None:
    model, ids = served(family), prompts()[2]
    ((tokens, nats),) = answers(model, [asked(model, ids, 24)])
    with torch.inference_mode():
        logits = model.model(input_ids=torch.tensor([[*ids, *tokens]]), use_cache=False).logits[0]
    expected = torch.log_softmax(logits.double(), -1)[range(len(ids) - 1, len(ids) + 23), tokens]
    assert nats == pytest.approx(expected.tolist(), abs=NATS)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_is_as_large_as_was_measured(served: Served, family: str) -> None:
    model = served(family)
    cache = DynamicCache(config=model.model.config)
    with torch.inference_mode():
        read_tokens(model.model, cache, [1] * 20, 0)
    assert held_bytes(cache) == model.bytes_of(20)


def test_rows_that_join_share_no_memory(served: Served) -> None:
    model = served("llama")
    caches = [DynamicCache(config=model.model.config) for _ in range(3)]
    with torch.inference_mode():
        for count, cache in enumerate(caches, 3):
            read_tokens(model.model, cache, list(range(count)), 0)
        before = [layer.keys.clone() for layer in caches[0].layers]
        step_together(model.model, caches, [7, 8, 9])
    for layer, old in zip(caches[0].layers, before, strict=True):
        assert layer.keys.shape[2] == 4
        assert torch.equal(layer.keys[:, :, :3], old)
    pointers = {layer.keys.untyped_storage().data_ptr() for cache in caches for layer in cache.layers}
    assert len(pointers) == 9


def test_a_long_prompt_does_not_hold_up_answers(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served("llama")
    monkeypatch.setattr(loop, "PREFILL_TOKENS", 16)
    monkeypatch.setattr(forward, "PREFILL_TOKENS", 16)
    order: list[str] = []
    read, step = loop.read_tokens, model.loop._tell

    def reading(*arguments: object) -> torch.Tensor:
        order.append("read")
        return read(*arguments)  # type: ignore[arg-type]

    def telling(*arguments: object, **named: object) -> None:
        order.append("tell")
        step(*arguments, **named)  # type: ignore[arg-type]

    short, long = asked(model, [1, 2], 30), asked(model, prompts()[3] * 4, 2)
    model.loop.submit(short)
    events = short.events()
    assert isinstance(next(events), NewToken)  # it answers; now comes the long one
    monkeypatch.setattr(loop, "read_tokens", reading)
    monkeypatch.setattr(model.loop, "_tell", telling)
    model.loop.submit(long)
    list(long.events())
    list(events)
    # 360 tokens are 23 pieces of 16; without turns they would come in one run.
    runs = max(len(run) for run in "".join(name[0] for name in order).split("t"))
    assert runs <= 2


def test_a_failure_is_one_requests_own(served: Served) -> None:
    model = served("llama")
    broken, fine = asked(model, [VOCABULARY + 5], 4), asked(model, [1, 2, 3], 4)
    model.loop.submit(broken)
    model.loop.submit(fine)
    assert isinstance(list(fine.events())[-1], Ended)
    with pytest.raises(Exception, match="error id"):
        list(broken.events())


def test_cancel_and_deadline_end_a_request(served: Served) -> None:
    model = served("llama")
    for cancel, error in ((CancelToken(), Cancelled), (CancelToken(0.0), DeadlineExceeded)):
        if error is Cancelled:
            cancel.cancel()
        ended: list[bool] = []
        one = Request(
            Context(model.new_cache(None), pending=[1, 2]),
            Sampling(400),
            cancel,
            AnswerText(model.decode),
            on_end=lambda ended=ended: ended.append(True),  # type: ignore[misc]
        )
        model.loop.submit(one)
        with pytest.raises(error):
            list(one.events())
        assert ended == [True]


def test_a_request_that_waits_for_a_place_can_be_cancelled(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served("llama")
    monkeypatch.setattr(loop, "MAX_ROWS", 1)
    first, second = asked(model, [1, 2], 300), asked(model, [3, 4], 4)
    model.loop.submit(first)
    model.loop.submit(second)
    second.cancel.cancel()
    with pytest.raises(Cancelled):
        list(second.events())
    assert not first.ended  # it was told while the first still had the only place
    first.cancel.cancel()
    with pytest.raises(Cancelled):
        list(first.events())
