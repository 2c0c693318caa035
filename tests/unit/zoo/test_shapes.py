"""Named shapes: their sizes are the published ones, and a copy of their weights loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from assay.errors import NotFound
from assay.models.checkpoint import inspect_checkpoint, load_model
from assay.zoo.build_shape import build_shape, count_parameters
from assay.zoo.shapes import SHAPES, LayerShape, shape


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_shape_counts_the_published_parameters(name: str) -> None:
    assert count_parameters(SHAPES[name]) == SHAPES[name].parameters


def test_fox_1_is_counted_by_hand() -> None:
    # Per layer: queries and output 2 x 2048 x 2048, keys and values 2 x 2048 x 512, gate, up and down 3 x 2048 x 4096,
    # two norms of 2048. Once: the tied embedding 256000 x 2048 and the last norm.
    layer = 2 * 2048 * 2048 + 2 * 2048 * 512 + 3 * 2048 * 4096 + 2 * 2048
    assert 32 * layer + 256_000 * 2048 + 2048 == 1_665_271_808
    assert count_parameters(shape("fox-1-1.6b")) == 1_665_271_808


def test_openelm_grows_from_half_to_all_of_the_heads_and_to_four_widths() -> None:
    layers = shape("openelm-1.1b").layers
    assert layers[0] == LayerShape(16, 4, 1024)
    assert layers[-1] == LayerShape(32, 8, 8192)
    assert all(each.num_attention_heads == 4 * each.num_key_value_heads for each in layers)


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_small_copy_of_the_architecture_predicts_every_position(name: str) -> None:
    original = SHAPES[name]
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 128, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": max(1, 4 // _group(name))}
    small = replace(
        original,
        config={**original.config, **sizes, **heads},
        layers=(LayerShape(4, 1, 32), LayerShape(8, 2, 96)) if original.layers else (),
    )
    model = build_shape(small)
    with torch.inference_mode():
        logits = model(torch.arange(10)[None]).logits
    assert logits.shape == (1, 10, 128)
    assert bool(logits.isfinite().all())


def test_a_local_copy_of_fox_1_loads_as_any_checkpoint_does(tmp_path: Path) -> None:
    fox = shape("fox-1-1.6b")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 4, "vocab_size": 512}
    small = build_shape(replace(fox, config={**fox.config, **sizes}), dtype=torch.bfloat16)
    small.save_pretrained(tmp_path)
    info = inspect_checkpoint(tmp_path)
    assert (info.architecture, info.config["num_hidden_layers"]) == ("llama", 32)
    assert "lm_head.weight" not in info.tensors  # tied: stored once
    loaded = load_model(tmp_path)
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        assert torch.equal(loaded(ids).logits, small(ids).logits)
    assert (loaded.config.num_attention_heads, loaded.config.num_key_value_heads) == (16, 4)


def test_an_unknown_shape_is_named_with_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"fox-1-1\.6b"):
        shape("fox-2")


def _group(name: str) -> int:
    config = SHAPES[name].config
    return int(config["num_attention_heads"] // config["num_key_value_heads"])
