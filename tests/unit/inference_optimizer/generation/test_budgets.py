"""Bytes of caches and of models: bounded, given back, and never taken from who uses them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch

from assay.cancel import CancelToken
from assay.errors import ResourceExhausted
from assay_inference_optimizer.core.generation import forward
from assay_inference_optimizer.core.generation.cache_budget import CacheBudget
from assay_inference_optimizer.core.generation.cache_facts import held_bytes, reading
from assay_inference_optimizer.core.generation.forward import read_tokens
from assay_inference_optimizer.core.generation.model_pool import ModelPool
from assay_inference_optimizer.core.generation.score import Scorer
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig, Variant


def test_what_is_reserved_is_never_more_than_the_limit() -> None:
    budget = CacheBudget(100)
    budget.reserve(60, "one")
    with pytest.raises(ResourceExhausted) as caught:
        budget.reserve(50, "two")
    assert caught.value.retry_after_s  # it would fit an empty cache
    budget.release(60)
    budget.reserve(50, "two")
    with pytest.raises(ResourceExhausted) as caught:
        budget.reserve(101, "three")
    assert caught.value.retry_after_s is None


def test_idle_bytes_are_asked_for_before_a_refusal() -> None:
    asked: list[int] = []

    def make_room(lacking: int) -> None:
        asked.append(lacking)
        budget.release(60)

    budget = CacheBudget(100, make_room)
    budget.reserve(60, "idle")
    budget.reserve(70, "new")
    assert asked == [30]
    assert budget.reserved_bytes == 70


def test_many_threads_never_pass_the_limit() -> None:
    budget, most, refused = CacheBudget(100), [0], [0]

    def work(_: int) -> None:
        for _ in range(200):
            try:
                budget.reserve(30, "work")
            except ResourceExhausted:
                refused[0] += 1
                continue
            most[0] = max(most[0], budget.reserved_bytes)
            budget.release(30)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert most[0] <= 90
    assert budget.reserved_bytes == 0


@dataclass(frozen=True)
class Model:
    name: str
    weight_bytes: int = 40


def use(pool: ModelPool[Model], name: str, loads: list[str], size: int = 40) -> Model:
    def load() -> Model:
        loads.append(name)
        return Model(name, size)

    with pool.use(name, lambda: size, load) as model:
        return model


def test_the_longest_unused_model_makes_room() -> None:
    pool: ModelPool[Model] = ModelPool(100)
    loads: list[str] = []
    for name in ("a", "b", "a", "c", "a", "b"):
        use(pool, name, loads)
    # c drops b, which was used before a; b then drops c.
    assert loads == ["a", "b", "c", "b"]
    assert {model.name for model in pool.loaded()} == {"a", "b"}
    assert pool.used_bytes == 80


def test_a_model_in_use_stays() -> None:
    pool: ModelPool[Model] = ModelPool(100)
    loads: list[str] = []
    with pool.use("a", lambda: 80, lambda: Model("a", 80)), pytest.raises(ResourceExhausted) as caught:
        use(pool, "b", loads)
    assert caught.value.retry_after_s
    use(pool, "b", loads)
    assert [model.name for model in pool.loaded()] == ["b"]


def test_a_refusal_drops_no_idle_model() -> None:
    pool: ModelPool[Model] = ModelPool(100)
    use(pool, "idle", [], 30)
    with pool.use("busy", lambda: 60, lambda: Model("busy", 60)), pytest.raises(ResourceExhausted):
        use(pool, "large", [], 50)
    assert {model.name for model in pool.loaded()} == {"idle", "busy"}


def test_an_unwanted_model_goes_when_its_last_user_does() -> None:
    pool: ModelPool[Model] = ModelPool(100)
    with pool.use("a", lambda: 40, lambda: Model("a")):
        assert pool.drop("a")
        assert not pool.drop("a")
        assert pool.loaded() == []
        assert pool.used_bytes == 40
    assert pool.used_bytes == 0


def test_callers_at_once_load_a_model_once() -> None:
    pool: ModelPool[Model] = ModelPool(100)
    loads: list[str] = []
    together = threading.Barrier(6)

    def work(_: int) -> None:
        together.wait()
        use(pool, "a", loads)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert loads == ["a"]


def test_a_load_that_fails_leaves_nothing() -> None:
    pool: ModelPool[Model] = ModelPool(100)

    def fail() -> Model:
        raise OSError("torn")

    with pytest.raises(OSError), pool.use("a", lambda: 40, fail):
        pass
    assert pool.used_bytes == 0
    assert use(pool, "a", []).name == "a"


def test_queries_kept_for_taking_tokens_back_are_reserved(served: Callable[[str], ServedModel]) -> None:
    model = served("llama")
    sparse = SparseConfig(block_size=16, sink_tokens=16, window_tokens=16, target_density=0.5)
    cache = model.new_cache(sparse, rollback_tokens=400)
    with torch.inference_mode(), reading(cache):
        read_tokens(model.model, cache, [1] * 450, 0)
    assert model.bytes_of(450, sparse) < held_bytes(cache) <= model.bytes_of(450, sparse, 400)


@pytest.mark.parametrize("method", [Method.SKETCH_WALK, Method.SINK_WINDOW, Method.DENSE])
@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("family", ["llama", "gemma2", "deepseek_v3", "mamba2"])
def test_a_sparse_cache_holds_no_more_than_is_reserved(
    served: Callable[[str], ServedModel], family: str, variant: Variant, method: Method
) -> None:
    model = served(family)
    sparse = SparseConfig(
        variant=variant, method=method, block_size=16, sink_tokens=16, window_tokens=16, target_density=0.5
    )
    cache = model.new_cache(sparse)
    with torch.inference_mode():
        for count in (3, 48, 253, 200):  # read in pieces, past one growth of the room or several
            with reading(cache):
                read_tokens(model.model, cache, [1] * count, cache.tokens)
            assert held_bytes(cache) <= model.bytes_of(cache.tokens, sparse)
        for _ in range(40):
            read_tokens(model.model, cache, [1], cache.tokens)
        reserved = model.bytes_of(cache.tokens, sparse)
    assert held_bytes(cache) <= reserved
    if family in ("llama", "deepseek_v3"):  # elsewhere windows forget, and snapshots are held beside the cache
        assert reserved < 2 * held_bytes(cache)


def test_a_score_reserves_its_logits_and_reads_in_pieces(
    served: Callable[[str], ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, budget, text = served("llama"), CacheBudget(10**9), "import os\nreturn argv\n" * 20
    ids = model.tokenizer(text, add_special_tokens=False).input_ids
    for sparse in (None, SparseConfig(block_size=16, sink_tokens=16, window_tokens=16, target_density=0.5)):
        whole = Scorer(model, sparse, budget, cancel=CancelToken()).text(text, "texts[0]")
        with monkeypatch.context() as patched:
            patched.setattr(forward, "PREFILL_TOKENS", 32)
            pieces = Scorer(model, sparse, budget, cancel=CancelToken()).text(text, "texts[0]")
        assert len(ids) > 100
        known = whole.score.log_probabilities
        assert pieces.score.log_probabilities[1:] == pytest.approx(known[1:], abs=1e-4)
        assert budget.reserved_bytes == 0
    logits = 8 * model.vocabulary * len(ids)
    tight = CacheBudget(model.bytes_of(len(ids) + 1) + logits - 1)
    with pytest.raises(ResourceExhausted, match=r"texts\[0\]"):
        Scorer(model, None, tight, cancel=CancelToken()).text(text, "texts[0]")
