"""What steps find loaded, and what had to make room."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from assay.models.windows import Windows
from assay_moe_router.loaded_models import LoadedModels, held_bytes


def load(loads: list[str], name: str) -> nn.Module:
    loads.append(name)
    return nn.Linear(16, 16, bias=False)  # 1 KiB


def use(models: LoadedModels, loads: list[str], *names: str) -> None:
    for name in names:
        with models.borrow(name, lambda name=name: load(loads, name)):
            pass


@pytest.mark.parametrize(("kib", "dropped"), [(3, ""), (2, "a"), (1, "ab"), (0, "ab")])
def test_the_longest_unused_make_room(kib: int, dropped: str) -> None:
    for name in "abc":
        models, loads = LoadedModels(kib * 1024), list[str]()
        use(models, loads, "a", "b", "c", name)
        # The latest, c, stays whatever its size.
        assert (len(loads) == 4) == (name in dropped)


def test_steps_side_by_side_get_an_instance_each() -> None:
    models, loads = LoadedModels(2**20), list[str]()
    with models.borrow("a", lambda: load(loads, "a")) as one, models.borrow("a", lambda: load(loads, "a")) as other:
        assert one is not other
    with models.borrow("a", lambda: load(loads, "a")), models.borrow("a", lambda: load(loads, "a")):
        assert loads == ["a", "a"]


def test_what_a_failed_step_borrowed_is_kept() -> None:
    models, loads = LoadedModels(2**20), list[str]()
    with pytest.raises(ZeroDivisionError), models.borrow("a", lambda: load(loads, "a")):
        raise ZeroDivisionError
    use(models, loads, "a")
    assert loads == ["a"]


def test_sizes_are_those_of_the_tensors() -> None:
    assert held_bytes(nn.Linear(16, 16, bias=False)) == 1024
    assert held_bytes(Windows(torch.zeros(3, 5, dtype=torch.int64), ("",) * 3)) == 120
