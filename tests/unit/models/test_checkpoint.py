"""What a checkpoint must be before it is loaded. Weights here are random: only shapes and refusals matter."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from assay.errors import AssayError, DataLoss, InvalidInput, PermissionDenied, Unimplemented
from assay.models.checkpoint import inspect_checkpoint, load_model, load_tokenizer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    folder = tmp_path / "model"
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_in_a_checkpoint(checkpoint: Path) -> None:
    info = inspect_checkpoint(checkpoint)
    weights = checkpoint / "model.safetensors"
    assert info.architecture == "llama"
    assert not info.encoder_decoder
    assert info.weight_bytes == weights.stat().st_size
    assert info.sha256["model.safetensors"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert set(info.sha256) == {path.name for path in checkpoint.iterdir()}
    assert info.tensors["model.embed_tokens.weight"].shape == (64, 16)
    # 2 x 64 x 16 embeddings, 4 x 16 x 16 attention, 3 x 16 x 32 feed-forward, 3 x 16 norms
    assert sum(torch.Size(tensor.shape).numel() for tensor in info.tensors.values()) == 2048 + 1024 + 1536 + 48


def test_the_model_comes_in_evaluation_mode_and_the_asked_precision(checkpoint: Path) -> None:
    stored, converted = load_model(checkpoint), load_model(checkpoint, dtype=torch.float32)
    assert not stored.training
    assert (stored.dtype, converted.dtype) == (torch.bfloat16, torch.float32)
    first, second = next(stored.parameters()), next(converted.parameters())
    assert torch.equal(first.float(), second)


def pickled(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")


def with_code(checkpoint: Path) -> None:
    edit(checkpoint / "config.json", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})


def tokenizer_with_code(checkpoint: Path) -> None:
    (checkpoint / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["own.Own", null]}}')


def truncated(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def garbage(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"\xff" * 4096)


def empty(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"")


def without_config(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()


def config_no_json(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{")


def config_a_list(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("[]")


def without_type(checkpoint: Path) -> None:
    edit(checkpoint / "config.json", model_type="")


def unknown_type(checkpoint: Path) -> None:
    edit(checkpoint / "config.json", model_type="perceptron_of_1958")


def no_language_model(checkpoint: Path) -> None:
    edit(checkpoint / "config.json", model_type="vit")


def without_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()


def shard_missing(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))


def shard_outside(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "../../elsewhere.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "error", "named"),
    [
        (pickled, PermissionDenied, "pytorch_model.bin"),
        (with_code, PermissionDenied, "config.json has auto_map"),
        (tokenizer_with_code, PermissionDenied, "tokenizer_config.json has auto_map"),
        (truncated, DataLoss, "model.safetensors"),
        (garbage, DataLoss, "model.safetensors"),
        (empty, DataLoss, "model.safetensors"),
        (without_config, InvalidInput, "config.json"),
        (config_no_json, InvalidInput, "config.json"),
        (config_a_list, InvalidInput, "config.json"),
        (without_type, InvalidInput, "model_type"),
        (unknown_type, Unimplemented, "perceptron_of_1958"),
        (no_language_model, Unimplemented, "vit"),
        (without_weights, InvalidInput, "model.safetensors"),
        (shard_missing, DataLoss, "model-00001-of-00001"),
        (shard_outside, PermissionDenied, "elsewhere"),
    ],
)
def test_what_is_refused(checkpoint: Path, damage: object, error: type[AssayError], named: str) -> None:
    assert callable(damage)
    damage(checkpoint)
    for use in (inspect_checkpoint, load_model):
        with pytest.raises(error, match=named):
            use(checkpoint)


def test_a_pickle_beside_safetensors_is_never_opened(checkpoint: Path) -> None:
    (checkpoint / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    load_model(checkpoint)
    assert "pytorch_model.bin" in inspect_checkpoint(checkpoint).sha256


def test_weights_that_the_config_needs_but_nobody_stored(checkpoint: Path) -> None:
    # transformers alone would fill the second layer with random numbers and warn.
    edit(checkpoint / "config.json", num_hidden_layers=2)
    with pytest.raises(DataLoss, match=r"layers\.1"):
        load_model(checkpoint)


def test_weights_of_another_shape(checkpoint: Path) -> None:
    edit(checkpoint / "config.json", hidden_size=32)
    with pytest.raises(InvalidInput, match="do not fit"):
        load_model(checkpoint)


def test_a_model_without_tokenizer(checkpoint: Path) -> None:
    with pytest.raises(InvalidInput, match=r"tokenizer\.json"):
        load_tokenizer(checkpoint)


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no directory"):
        inspect_checkpoint(tmp_path / "nowhere")
