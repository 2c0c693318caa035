"""What a caller does, as a program: it runs where the names of the cluster's Services resolve. Prints JSON.

python -m cluster.client calibrate HOST:PORT MODEL TEXT SEQUENCES
python -m cluster.client call HOST:PORT CALLS_A_SECOND     until SIGTERM
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import json_format

from assay.client.connection import OPTIONS, connect
from assay.client.errors import error_from_rpc
from assay.moe_router.v1 import moe_router_pb2 as moe
from assay.moe_router.v1 import moe_router_pb2_grpc
from assay.tom_verifier.v1 import stories_pb2, tom_verifier_pb2_grpc

STORY = "Ann entered the kitchen.\nThe ball is in the box.\nAnn exited the kitchen."


def calibrate(address: str, model: str, text: str, sequences: str) -> dict[str, Any]:
    """The finished operation's result, and how many of its answers were asked for anew."""
    request = moe.CalibrateRequest(
        request_id=str(uuid.uuid4()),
        model=model,
        text=moe.TextSelection(text=text, sequences=int(sequences), sequence_tokens=16, batch_sequences=8),
    )
    with connect("moe_router", address) as connection:
        stub = moe_router_pb2_grpc.MoeRouterServiceStub(connection.channel)
        operation = connection.call(stub.Calibrate, request).operation
        print(json.dumps({"operation": operation.name}), flush=True)
        result = connection.result(connection.wait(operation), moe.CalibrateResult)
        return {"result": json_format.MessageToDict(result)}


def call(address: str, rate: str) -> dict[str, Any]:
    """ParseStory, which the engine answers, at so many calls a second: when each began, its code, whether an
    UNAVAILABLE said when to try again. Nothing is tried again, so that each failure counts."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    made: list[Future[dict[str, Any]]] = []
    with grpc.insecure_channel(address, options=OPTIONS) as channel, ThreadPoolExecutor(64) as pool:
        method = tom_verifier_pb2_grpc.TomVerifierServiceStub(channel).ParseStory
        begun = time.monotonic()
        for number in range(10**9):
            if stopped.wait(max(0.0, begun + number / float(rate) - time.monotonic())):
                break
            made.append(pool.submit(_one, method, begun))
        return {"calls": sorted((future.result() for future in made), key=lambda found: found["at"])}


def _one(method: Callable[..., Any], begun: float) -> dict[str, Any]:
    at = time.monotonic()
    code, hint, message = "OK", None, ""
    try:
        method(stories_pb2.ParseStoryRequest(story=STORY), timeout=20)
    except grpc.RpcError as raw:
        error = error_from_rpc(raw)
        code, hint, message = error.code, error.retry_after_s, error.message
    return {"at": at - begun, "took": time.monotonic() - at, "code": code, "retry_after_s": hint, "message": message}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    print(json.dumps({"calibrate": calibrate, "call": call}[command](*arguments)), flush=True)
