"""inference-optimizer with its engine on a real Ray Serve: the same answers, streamed, batched, and stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from contract.inference_optimizer.asking import SPARSE, decode, generate, request
from probe.service_process import ServiceProcess

from assay.client.connection import Connection, connect
from assay.engine.local_ray import EngineSpec, LocalRay
from assay.engine.serve_wire import TOKEN_VARIABLE
from assay.errors import Aborted
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import inference_optimizer_pb2_grpc

pytestmark = pytest.mark.ray

CODE = "import os\nimport sys\n\n\ndef main(argv):\n    for name in argv:\n        print(name)\n"
NATS = 1e-4


@pytest.fixture(scope="module")
def cluster(trained: Any) -> Iterator[LocalRay]:
    pytest.importorskip("ray", reason="needs Ray: pip install 'assay-platform[ray]'")
    running = LocalRay([EngineSpec("inference_optimizer", "assay_inference_optimizer.engine")], trained.store, cpus=2)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def on_ray(cluster: LocalRay, trained: Any) -> Iterator[Connection]:
    front = ServiceProcess(
        "inference_optimizer", trained.store, f"serve://{cluster.address}", {TOKEN_VARIABLE: cluster.token}
    )
    with connect("inference_optimizer", front.address) as connection:
        yield connection
    front.stop()


@pytest.fixture(scope="module")
def ray_stub(on_ray: Connection) -> Any:
    return inference_optimizer_pb2_grpc.InferenceOptimizerServiceStub(on_ray.channel)


def test_the_engines_place_changes_no_answer(ray_stub: Any, stub: Any, trained: Any) -> None:
    # More at once than a replica computes steps: those that wait for the loop take no place among them.
    asked = [request(trained.model, CODE * (1 + n % 3), 16 + n, sparse=SPARSE if n % 2 else None) for n in range(12)]
    here = [generate(stub, one) for one in asked]
    with ThreadPoolExecutor(len(asked)) as threads:
        there = list(threads.map(lambda one: generate(ray_stub, one), asked))
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.tokens == ours.tokens
        assert theirs.nats == pytest.approx(ours.nats, abs=NATS)


def test_an_answer_comes_as_it_is_made(ray_stub: Any, trained: Any) -> None:
    asked = request(trained.model, CODE, 400, temperature=1.0, ignore_end=True)
    arrivals = [(time.monotonic(), len(reply.generated.tokens)) for reply in ray_stub.Generate(asked)]
    assert sum(count for _, count in arrivals) == 400
    # The first token is there long before the last, and they come several a message.
    assert 5 <= len(arrivals) <= 200
    assert arrivals[-1][0] - arrivals[0][0] > 0.1


def test_a_session_lives_in_its_replica(on_ray: Connection, ray_stub: Any, stub: Any, trained: Any) -> None:
    opened = on_ray.call(ray_stub.Prefill, api.PrefillRequest(model=trained.model, prompt=api.Prompt(text=CODE)))
    whole = generate(stub, request(trained.model, CODE, 20))
    assert decode(ray_stub, opened.session, 8).tokens + decode(ray_stub, opened.session, 12).tokens == whole.tokens
    # This process has the history, for the store is one, and no cache.
    with pytest.raises(Aborted, match="prefill again"):
        decode(stub, opened.session, 1)


def test_an_answer_that_is_left_frees_its_place(ray_stub: Any, trained: Any) -> None:
    for _ in range(3):
        calls = [ray_stub.Generate(request(trained.model, CODE, 450, ignore_end=True)) for _ in range(8)]
        for call in calls:
            next(call)
            call.cancel()
    started = time.monotonic()
    assert len(generate(ray_stub, request(trained.model, CODE, 8)).tokens) == 8
    assert time.monotonic() - started < 5


def test_bad_input_is_named_from_there_too(ray_stub: Any, trained: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(ray_stub.Generate(request(trained.model, CODE, 512)))
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
