"""Fronts of tom-verifier over real sockets, a verifier that really was trained, and stories to ask about."""

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
from assay.progress import silent
from assay.tom_verifier.v1 import tom_verifier_pb2_grpc, verifier_pb2
from assay.zoo.recipes import RECIPES
from assay.zoo.store import ensure_model, ensure_text

STORY = """1 Owen, Liam and Ava entered the hall.
2 The celery is in the red_box.
3 Owen moved the celery to the blue_crate.
4 Owen exited the hall.
5 Liam moved the celery to the green_drawer.
6 Liam exited the hall.
7 Ava made no movements and stayed in the hall for 1 minute.
8 Ava exited the hall.
9 Owen, Liam and Ava entered the waiting_room.
10 Ava publicly claimed that celery is in the red_box."""
QUESTION = "Where does Liam think Owen thinks the celery is?"
# What Liam thinks that Owen thinks, line by line.
CLAIMS = ("Null", "red_box", *["blue_crate"] * 8)
MODEL = """model
  frame S5
  agents a, b
  atoms p, q
  world w0: p, q
  world w1: q
  world w2: p
  relation a: {w0, w1} {w2}
  relation b: {w0, w2} {w1}
  point w0
end
"""

CONTEXT = 4096  # holds a question, its rules and its example, told in tokens of few letters
RECIPE = replace(
    RECIPES["llama-tiny"],
    name="llama-long",
    config={
        **RECIPES["llama-tiny"].config,
        "hidden_size": 32,
        "intermediate_size": 64,
        "max_position_embeddings": CONTEXT,
    },
    steps=30,
    batch=4,
    sequence_length=64,
    learning_rate=1e-2,
    warmup_steps=10,
    vocabulary=512,
)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What trainings keep stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a store that all tests here share."""
    return (tmp_path_factory.mktemp("tom") / "store").as_uri()


@pytest.fixture(scope="session")
def connection(store: str) -> Iterator[Connection]:
    """Every installed service behind one socket."""
    with connect("tom_verifier", config=Config(store=store)) as opened:
        yield opened


@pytest.fixture(scope="session")
def stub(connection: Connection) -> Any:
    return tom_verifier_pb2_grpc.TomVerifierServiceStub(connection.channel)


@pytest.fixture(scope="session")
def trained(connection: Connection, stub: Any) -> verifier_pb2.TrainPbmResult:
    """Seconds of training: enough for a score to mean something, not for figures."""
    request = verifier_pb2.TrainPbmRequest(
        request_id=str(uuid.uuid4()), steps=200, generator_steps=40, batch=16, seed=3
    )
    return connection.run(stub.TrainPbm, request, verifier_pb2.TrainPbmResult)


@pytest.fixture(scope="session")
def artifacts(store: str) -> ArtifactStore:
    return Config(store=store).open_artifacts()


@pytest.fixture(scope="session")
def model(artifacts: ArtifactStore, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A language model of some tokens' wits, with a chat template."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("model")
    for package in (email, json, logging):
        source = Path(package.__file__ or "").parent
        shutil.copytree(source, folder / "text" / package.__name__, ignore=shutil.ignore_patterns("__pycache__"))
    text = ensure_text(artifacts, folder / "text")
    made = ensure_model(artifacts, RECIPE, seed=0, cancel=CancelToken(), progress=silent, text=text)
    copy = folder / "chatty"
    copy.mkdir()
    for path in artifacts.path(made).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(copy)
    return artifacts.put("model", copy)
