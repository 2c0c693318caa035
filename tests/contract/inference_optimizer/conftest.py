"""Small models that really were trained, in a store of their own, and a front of inference-optimizer to ask."""

from __future__ import annotations

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
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import inference_optimizer_pb2_grpc
from assay.progress import silent
from assay.zoo.recipes import RECIPES
from assay.zoo.store import ensure_model, ensure_text

# Four dense layers, seconds of training: enough that its distributions are peaked somewhere.
MICRO = replace(
    RECIPES["llama-tiny"],
    name="llama-micro",
    config={**RECIPES["llama-tiny"].config, "hidden_size": 32, "intermediate_size": 64},
    steps=150,
    batch=8,
    warmup_steps=10,
    vocabulary=512,
)


class Trained:
    """store: its URL. model, other, text: digests; `other` has a chat template."""

    def __init__(self, folder: Path) -> None:
        self.store = (folder / "store").as_uri()
        self.artifacts: ArtifactStore = Config(store=self.store).open_artifacts()
        self.text = ensure_text(self.artifacts)
        self.model = ensure_model(self.artifacts, MICRO, seed=0, cancel=CancelToken(), progress=silent, text=self.text)
        self.other = self._chatty(folder)

    def _chatty(self, folder: Path) -> str:
        from transformers import AutoTokenizer

        short = replace(MICRO, steps=20)
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


def prompt(text: str) -> api.Prompt:
    return api.Prompt(text=text)
