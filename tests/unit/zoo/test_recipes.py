"""Recipes: what decides the weights, and the names that lead to them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.errors import InvalidInput, NotFound
from assay.zoo.recipes import RECIPES, recipe

# Models trained before the recipe had stages, exit losses and stops are still found under these.
FIRST_FINGERPRINTS = {
    "qwen3-moe-tiny": "e66f47974e09cc45f81f0fc435d23c602a84ad3060c4e68a9c1cc1ed57c2bcdf",
    "qwen3-moe-tiny-aux": "f8d540745e55295ed3acdce73291629ac28900cd0855628cc08e765f9cf2fc2a",
    "deepseek-moe-tiny": "8823108eaec54b7af33d2e05dd3f401ebeb9d8a6f9d5dfd214021e20a3da4cc4",
    "switch-tiny": "7ff07c87a38e60d45e126b0d3689ccec5a43639e421861ad015b12f9622eb0db",
    "llama-tiny": "8e549bd11b15514c790f8854ea84aa3bba1fd1202179aed5e51ffb5fdc84a606",
}


def test_models_trained_earlier_keep_their_fingerprints() -> None:
    assert {name: RECIPES[name].fingerprint() for name in FIRST_FINGERPRINTS} == FIRST_FINGERPRINTS


def test_what_decides_the_weights_decides_the_fingerprint() -> None:
    dense = RECIPES["dense-6"]
    fingerprints = {
        each.fingerprint()
        for each in (dense, RECIPES["dense-6-exit"], dense.at(100), dense.at(200), replace(dense, steps=1201))
    }
    assert len(fingerprints) == 5


def test_a_name_with_a_step_is_the_run_left_there() -> None:
    early = recipe("dense-12@300")
    assert (early.name, early.last_step, early.steps) == ("dense-12@300", 300, RECIPES["dense-12"].steps)


@pytest.mark.parametrize("name", ["dense-12@0", "dense-12@1201", "dense-12@", "dense-12@-5", "dense-12@half"])
def test_a_step_that_the_run_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        recipe(name)


def test_a_step_of_no_recipe_is_not_found() -> None:
    with pytest.raises(NotFound, match="dense-12"):
        recipe("gpt-5@100")
