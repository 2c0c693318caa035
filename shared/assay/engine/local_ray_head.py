"""The head of a local Ray cluster: told what to run by lines of JSON on stdin, gone when stdin closes.

See `assay.engine.local_ray`, which starts it. Answers each line with "ready", or with what went wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import grpc
import ray
from ray import serve

from assay.engine.local_ray import FOLDER
from assay.engine.serve_app import GRPC_SERVICER, application
from assay.engine.serve_wire import TOKEN_HEADER, token_of_environment
from assay.engine.v1 import engine_pb2, engine_pb2_grpc

OBJECT_STORE_BYTES = 256 * 2**20
ANSWER_TIMEOUT_S = 120.0


def main() -> None:
    # Ray and Serve print to stdout; only answers may go to the one we were given.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    deployed: set[str] = set()
    port = 0
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "deploy" in message:
                deployed = deploy(message["deploy"], deployed, port)
            else:
                port = int(message["grpc_port"])
                start(message)
            _answer(answers, "ready")
        except Exception as error:
            _answer(answers, f"{type(error).__name__}: {error}".replace("\n", " "))
    serve.shutdown()
    ray.shutdown()
    shutil.rmtree(os.environ[FOLDER], ignore_errors=True)  # the process that started us may be gone


def start(message: dict[str, Any]) -> None:
    """Ray and Serve, without applications."""
    ray.init(
        address="local",  # whatever RAY_ADDRESS says
        num_cpus=message["cpus"],
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(Path(os.environ[FOLDER]) / "t"),
        log_to_driver=False,
    )
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": "127.0.0.1", "port": message["http_port"]},
        grpc_options={
            "port": message["grpc_port"],
            "grpc_servicer_functions": [GRPC_SERVICER],
            "enable_reflection": False,
        },
        logging_config={"enable_access_log": False},
    )


def deploy(engines: list[dict[str, Any]], before: set[str], port: int) -> set[str]:
    """Runs `engines` and nothing else; returns their names once each answers on Serve's port."""
    targets = [
        serve.RunTarget(
            target=application(engine["name"], engine["engine_module"], engine),
            name=engine["name"],
            route_prefix=f"/{engine['name']}",  # Serve routes no gRPC to an application without one
        )
        for engine in engines
    ]
    serve.run_many(targets)
    names = {str(engine["name"]) for engine in engines}
    for gone in before - names:
        serve.delete(gone)
    for engine in engines:
        if not str(engine["replicas"]).startswith("0"):
            _wait_for(str(engine["name"]), port)
    return names


def _wait_for(name: str, port: int) -> None:
    metadata = (("application", name), (TOKEN_HEADER, token_of_environment()))
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        describe = engine_pb2_grpc.EngineServiceStub(channel).DescribeEngine
        while True:
            try:
                describe(engine_pb2.DescribeEngineRequest(), timeout=10, metadata=metadata)
                return
            except grpc.RpcError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the engine of {name} does not answer: {error.code().name}") from None
                time.sleep(0.1)


def _answer(answers: TextIO, text: str) -> None:
    answers.write(text + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
