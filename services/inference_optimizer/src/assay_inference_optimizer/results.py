"""What steps measure on and what they leave in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from google.protobuf import json_format
from safetensors.torch import load, save
from torch import Tensor

from assay.engine.step import StepContext
from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.models.windows import check_size, cut_windows
from assay.zoo.corpus import read_split
from assay_inference_optimizer import kinds
from assay_inference_optimizer.core.generation.served_model import ServedModel

WINDOWS_FILE = "windows.safetensors"
PACKAGES = ("assay-inference-optimizer", "assay-kernels", "numpy", "torch", "transformers")


def windows_of(served: ServedModel, text: api.TextSelection, context: StepContext) -> Tensor:
    """[S, T] int64. InvalidInput where the text fills no window."""
    texts = [text.literal]
    if text.text:
        texts = [row for row, _ in read_split(context.artifacts.path(text.text), text.split)]
    check_size(text.sequences, text.sequence_tokens)
    rows = ((one, "") for one in texts)
    there = cut_windows(rows, served.tokenizer, sequence_tokens=text.sequence_tokens, cancel=context.cancel)
    if not there.sequences:
        raise InvalidInput("text", f"fills no window of {text.sequence_tokens} tokens; give more, or ask for less")
    return there.spread(min(text.sequences, there.sequences)).ids


def put_windows(context: StepContext, ids: Tensor, model: str, text: api.TextSelection) -> str:
    """The digest of windows that several steps measure on."""
    return put_result(context, kinds.WINDOWS, {WINDOWS_FILE: save({"ids": ids.contiguous()})}, model, text)


def read_windows(digest: str, context: StepContext) -> Tensor:
    """[S, T] int64."""
    return load(context.artifacts.read(digest, WINDOWS_FILE))["ids"]


def put_result(context: StepContext, kind: str, files: Mapping[str, bytes], model: str, text: api.TextSelection) -> str:
    """The digest of what was found of a model on a text."""
    parameters: dict[str, Any] = {
        "model": model,
        "split": "" if text.literal else text.split,
        "sequences": text.sequences,
        "sequence_tokens": text.sequence_tokens,
    }
    return put(context, kind, files, [model, *([text.text] if text.text else [])], parameters)


def put(
    context: StepContext, kind: str, files: Mapping[str, bytes], inputs: Sequence[str], parameters: Mapping[str, Any]
) -> str:
    versions = {name: metadata.version(name) for name in PACKAGES}
    return context.artifacts.put(kind, dict(files), inputs=inputs, parameters=parameters, versions=versions)


def document_of(message: Any) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document


def json_of(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode()
