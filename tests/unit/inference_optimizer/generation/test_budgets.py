"""Bytes of caches and of models: bounded, given back, and never taken from who uses them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from assay.errors import ResourceExhausted
from assay_inference_optimizer.core.generation.cache_budget import CacheBudget
from assay_inference_optimizer.core.generation.model_pool import ModelPool


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
