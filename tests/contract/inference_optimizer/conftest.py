"""Small models that really were trained, in a store of their own, and a front of inference-optimizer to ask."""

from __future__ import annotations

import email
import json
import logging
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay.artifacts.store import ArtifactStore
from assay.cancel import CancelToken
from assay.client.connection import Connection, connect
from assay.config import Config
from assay.inference_optimizer.v1 import inference_optimizer_pb2_grpc
from assay.progress import silent
from assay.zoo.recipes import RECIPES
from assay.zoo.store import ensure_model, ensure_text

# Four dense layers and seconds of training: enough that its distributions are peaked somewhere.
MICRO = replace(
    RECIPES["llama-tiny"],
    name="llama-micro",
    config={**RECIPES["llama-tiny"].config, "hidden_size": 32, "intermediate_size": 64},
    steps=120,
    batch=4,
    sequence_length=64,
    learning_rate=1e-2,
    warmup_steps=10,
    vocabulary=512,
)
SOURCES = (email, json, logging)  # of the standard library: real text on every machine, and little of it


class Trained:
    """store: its URL. model, other, text: digests; `other` has a chat template."""

    def __init__(self, folder: Path) -> None:
        self.store = (folder / "store").as_uri()
        self.artifacts: ArtifactStore = Config(store=self.store).open_artifacts()
        for package in SOURCES:
            folder_of = Path(package.__file__ or "").parent
            shutil.copytree(folder_of, folder / "text" / package.__name__, ignore=shutil.ignore_patterns("__pycache__"))
        self.text = ensure_text(self.artifacts, folder / "text")
        self.model = ensure_model(self.artifacts, MICRO, seed=0, cancel=CancelToken(), progress=silent, text=self.text)
        self.other = self._chatty(folder)

    def _chatty(self, folder: Path) -> str:
        from transformers import AutoTokenizer

        short = replace(MICRO, steps=10)
        made = ensure_model(self.artifacts, short, seed=1, cancel=CancelToken(), progress=silent, text=self.text)
        copy = folder / "chatty"
        copy.mkdir()
        for path in self.artifacts.path(made).iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        tokenizer = AutoTokenizer.from_pretrained(copy)
        tokenizer.chat_template = (
            "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}[assistant] {% endif %}"
        )
        tokenizer.save_pretrained(copy)
        return self.artifacts.put("model", copy)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def connection(trained: Trained) -> Iterator[Connection]:
    """Every installed service behind one socket, over the store of `trained`."""
    with connect("inference_optimizer", config=Config(store=trained.store)) as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(connection: Connection) -> Any:
    return inference_optimizer_pb2_grpc.InferenceOptimizerServiceStub(connection.channel)


def new_id() -> str:
    return str(uuid.uuid4())
