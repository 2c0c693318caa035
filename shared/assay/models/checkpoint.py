"""Local Hugging Face checkpoints: what one holds, refused before loading where loading would be unsafe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from assay.errors import DataLoss, InvalidInput, PermissionDenied, Unimplemented
from assay.models.loading import transformers_loading

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What unpickling runs: loading such a file executes whatever its author wrote into it.
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
_CONFIGS = (CONFIG, "tokenizer_config.json", "generation_config.json")


@dataclass(frozen=True)
class TensorInfo:
    """dtype: safetensors' name, e.g. "BF16"."""

    file: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CheckpointInfo:
    """architecture: model_type of config.json. sha256: hex by file name, of every file in the directory.

    tensors: by name. weight_bytes: of the weight files. encoder_decoder: reads one text and writes another.
    """

    architecture: str
    encoder_decoder: bool
    config: dict[str, Any]
    tensors: dict[str, TensorInfo]
    weight_bytes: int
    sha256: dict[str, str]


def inspect_checkpoint(directory: Path) -> CheckpointInfo:
    """Reads headers and hashes files; loads no weight and runs no code.

    InvalidInput: no directory, no config.json, no weights, or a config that says nothing usable.
    PermissionDenied: pickled weights only, or a checkpoint that brings code (`auto_map`).
    Unimplemented: an architecture that the installed transformers does not know.
    DataLoss: weights that are truncated, no safetensors, or short of what their index lists.
    """
    config, architecture, encoder_decoder = _read_config(directory)
    weights = _weight_files(directory)
    tensors = _read_tensors(directory, weights)
    return CheckpointInfo(
        architecture=architecture,
        encoder_decoder=encoder_decoder,
        config=config,
        tensors=tensors,
        weight_bytes=sum((directory / name).stat().st_size for name in weights),
        sha256={path.name: _sha256(path) for path in sorted(directory.iterdir()) if path.is_file()},
    )


def load_model(directory: Path, *, dtype: torch.dtype | None = None, device: str = "cpu") -> PreTrainedModel:
    """The checkpoint's language model in evaluation mode; nothing is fetched and none of its code is run.

    dtype: of the weights in memory; None keeps the stored one. Raises what `inspect_checkpoint` raises, and
    DataLoss where weights that the architecture needs are absent.
    """
    _, _, encoder_decoder = _read_config(directory)
    _read_tensors(directory, _weight_files(directory))
    factory = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
    try:
        with transformers_loading():
            loaded: Any = factory.from_pretrained(
                directory,
                dtype="auto" if dtype is None else dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise InvalidInput(
            "model", f"weights and {CONFIG} do not fit ({type(error).__name__}); save it anew"
        ) from error
    model: PreTrainedModel
    model, loading = loaded
    # transformers would go on with random numbers in place of what is missing.
    if missing := sorted(loading["missing_keys"]):
        raise DataLoss(f"model: lacks {len(missing)} weights, first {missing[0]}; copy the checkpoint again")
    model.to(device)  # type: ignore[arg-type]
    model.eval()  # type: ignore[no-untyped-call]
    return model


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer, pads on the left. InvalidInput without one, PermissionDenied for one with code."""
    _read_config(directory)
    if not any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise InvalidInput("model", "has no tokenizer.json; save the tokenizer into the model's directory")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False, padding_side="left"
        )
    except (ValueError, OSError) as error:
        raise InvalidInput("model", "its tokenizer cannot be read; save it anew with save_pretrained") from error
    return tokenizer


def _read_config(directory: Path) -> tuple[dict[str, Any], str, bool]:
    if not directory.is_dir():
        raise InvalidInput("model", f"{directory.name} is no directory; give one with {CONFIG} and {WEIGHTS}")
    if not (directory / CONFIG).is_file():
        raise InvalidInput("model", f"has no {CONFIG}; give a directory written by save_pretrained")
    for name in _CONFIGS:
        if (directory / name).is_file() and "auto_map" in _read_json(directory / name):
            raise PermissionDenied(
                f"model: {name} has auto_map, code of the checkpoint's own, which is never run; use a checkpoint whose "
                "architecture is part of transformers",
                reason="REMOTE_CODE",
            )
    config = _read_json(directory / CONFIG)
    architecture = config.get("model_type")
    if not isinstance(architecture, str) or not architecture:
        raise InvalidInput("model", f"{CONFIG} has no model_type; save the model anew with save_pretrained")
    encoder_decoder = architecture in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    if architecture not in CONFIG_MAPPING or not (encoder_decoder or architecture in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        raise Unimplemented(
            f"model: transformers here has no language model of type {architecture!r}; upgrade transformers or use "
            "another model",
            reason="UNKNOWN_ARCHITECTURE",
        )
    return config, architecture, encoder_decoder


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InvalidInput("model", f"{path.name} is no JSON; copy the checkpoint again") from None
    if not isinstance(document, dict):
        raise InvalidInput("model", f"{path.name} is no JSON object; copy the checkpoint again")
    return document


def _weight_files(directory: Path) -> list[str]:
    """Names of the safetensors files that transformers would load."""
    if (directory / WEIGHTS).is_file():
        return [WEIGHTS]
    if (directory / INDEX).is_file():
        weight_map = _read_json(directory / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise InvalidInput("model", f"{INDEX} has no weight_map; copy the checkpoint again")
        names = sorted(set(weight_map.values()))
        if outside := [name for name in names if Path(name).name != name]:
            raise PermissionDenied(f"model: {INDEX} points outside the directory ({outside[0]}); refuse its source")
        return names
    pickled = sorted(path.name for path in directory.iterdir() if path.suffix in PICKLES)
    if pickled:
        raise PermissionDenied(
            f"model: {pickled[0]} is a pickle, which can run code when loaded; convert it to safetensors",
            reason="PICKLED_WEIGHTS",
        )
    raise InvalidInput("model", f"has no {WEIGHTS}; save the model with save_pretrained")


def _read_tensors(directory: Path, names: list[str]) -> dict[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    for name in names:
        try:
            with safe_open(directory / name, framework="pt") as stored:
                for tensor in stored.keys():  # noqa: SIM118
                    view = stored.get_slice(tensor)
                    tensors[tensor] = TensorInfo(name, view.get_dtype(), tuple(view.get_shape()))
        except FileNotFoundError:
            raise DataLoss(f"model: {name} is missing; copy the checkpoint again") from None
        except SafetensorError as error:
            raise DataLoss(f"model: {name} is damaged ({error}); copy the checkpoint again") from error
    return tensors


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
