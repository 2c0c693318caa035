"""What the chassis costs a unary call: p50 against a bare grpc.aio server, with everything on.

    PYTHONPATH=tests python -m bench.chassis [--rounds 7] [--calls 1500]

Everything: identity (a sidecar's header, or a client certificate under mutual TLS), allow list, deadlines,
limits, metrics, a span by a real SDK provider that samples one call in ten and exports to a collector, and a
JSON log line a call. The servers run in processes of their own; one client calls them in turn, and each round
pairs what is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from probe.authority import Authority
from probe.service import FULL_NAME

CALLER = "spiffe://assay.test/bench"
BARS = {"chassis": 1.5, "chassis, mutual TLS": 2.0}
TRACE = "00-{trace}-00f067aa0ba902b7-{sampled}"
SAMPLE_EVERY = 10
TURN = 20


async def serve_bare() -> None:
    async def echo(request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
        return request

    handler = grpc.unary_unary_rpc_method_handler(echo, StringValue.FromString, StringValue.SerializeToString)
    server = grpc.aio.server()
    server.add_registered_method_handlers(FULL_NAME, {"Echo": handler})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def serve_chassis(transport: str, tls: Path, collector: str) -> None:
    """The probe's service as a deployment would run it."""
    from probe.serving import serving
    from prometheus_client import CollectorRegistry

    from assay.server.logs import configure_logs
    from assay.server.settings import TlsFiles
    from assay.telemetry import configure

    configure_logs("INFO")
    configure("assay-probe", otlp_endpoint=collector)
    files = TlsFiles(tls / "server.pem", tls / "server.key", tls / "authority.pem")
    settings: dict[str, Any] = {
        "transport": transport,
        "allow": {f"/{FULL_NAME}/*": (CALLER, "spiffe://assay.test/other"), "*": ("spiffe://assay.test/admin",)},
        "tls": files if transport == "mtls" else None,
        "health_listen": "127.0.0.1:0" if transport == "mtls" else "",
    }

    async def run() -> None:
        with tempfile.TemporaryDirectory() as store:
            async with serving(f"file://{store}", registry=CollectorRegistry(), **settings) as server:
                print(server.address, flush=True)
                await server.wait()

    asyncio.run(run())


@contextmanager
def child(*arguments: str) -> Iterator[str]:
    """A server in a process of its own; its log goes to /dev/null, but is written."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.chassis", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"the server {arguments} did not start")
        yield address
    finally:
        process.kill()
        process.wait()


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans and counts them: what the servers export really leaves them."""

    def __init__(self) -> None:
        self.spans = 0

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.spans += sum(len(scope.spans) for each in request.resource_spans for scope in each.scope_spans)
        return trace_service_pb2.ExportTraceServiceResponse()


class Rival:
    """One server, called the way its callers would."""

    def __init__(self, name: str, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] | None) -> None:
        self.name = name
        self._echo = channel.unary_unary(f"/{FULL_NAME}/Echo", StringValue.SerializeToString, StringValue.FromString)
        self._metadata = metadata
        self._calls = 0

    async def seconds(self, calls: int) -> list[float]:
        """How long each of so many calls took, one after the other."""
        request = StringValue(value="x" * 32)
        seconds = []
        for _ in range(calls):
            metadata = self._metadata
            if metadata is not None:
                self._calls += 1
                sampled = "01" if self._calls % SAMPLE_EVERY == 0 else "00"
                metadata = (*metadata, ("traceparent", TRACE.format(trace=uuid.uuid4().hex, sampled=sampled)))
            begun = time.perf_counter()
            answer = await self._echo(request, timeout=20, metadata=metadata)
            seconds.append(time.perf_counter() - begun)
            assert answer.value == request.value
        return seconds


async def measure(addresses: dict[str, str], authority: Authority, rounds: int, calls: int) -> dict[str, list[float]]:
    """p50 in ms of each rival, round by round.

    Within a round they take turns of a few calls each: what else the machine does strikes all alike.
    """
    header = ("x-forwarded-client-cert", f'By=spiffe://assay.test/probe;Hash=00;Subject="CN=bench";URI={CALLER}')
    async with (
        grpc.aio.insecure_channel(addresses["bare"]) as bare,
        grpc.aio.insecure_channel(addresses["chassis"]) as plain,
        grpc.aio.secure_channel(addresses["chassis, mutual TLS"], authority.channel_credentials(CALLER)) as secure,
    ):
        rivals = [
            Rival("bare", bare, None),
            Rival("chassis", plain, (header, ("x-request-id", "bench-1"))),
            Rival("chassis, mutual TLS", secure, (("x-request-id", "bench-1"),)),
        ]
        for rival in rivals:
            await rival.seconds(300)  # warm-up
        found: dict[str, list[float]] = {rival.name: [] for rival in rivals}
        for _ in range(rounds):
            seconds: dict[str, list[float]] = {rival.name: [] for rival in rivals}
            for turn in range(calls // TURN):
                first = turn % len(rivals)
                for rival in rivals[first:] + rivals[:first]:
                    seconds[rival.name] += await rival.seconds(TURN)
            for name, taken in seconds.items():
                found[name].append(statistics.median(taken) * 1e3)
    return found


def main(rounds: int, calls: int) -> bool:
    """Prints the table; says whether both bars were met."""
    collector = Collector()
    sink = grpc.server(futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, sink)
    endpoint = f"http://127.0.0.1:{sink.add_insecure_port('127.0.0.1:0')}"
    sink.start()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        authority = Authority(Path(folder))
        authority.server_files()
        addresses = {
            "bare": servers.enter_context(child("--serve", "bare")),
            "chassis": servers.enter_context(child("--serve", "mesh", "--tls", folder, "--collector", endpoint)),
            "chassis, mutual TLS": servers.enter_context(
                child("--serve", "mtls", "--tls", folder, "--collector", endpoint)
            ),
        }
        found = asyncio.run(measure(addresses, authority, rounds, calls))
        time.sleep(6)  # the last batch of spans leaves after five seconds
    sink.stop(0)
    print(
        f"unary echo of 32 bytes, one client, p50 of {calls} calls in each of {rounds} rounds; "
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, grpc {grpc.__version__}; "
        f"{collector.spans} spans exported"
    )
    document: dict[str, Any] = {"bench": "chassis", "rounds": rounds, "calls": calls, "spans": collector.spans}
    met = True
    for name, p50s in found.items():
        ratios = sorted(ours / bare for ours, bare in zip(p50s, found["bare"], strict=True))
        ratio = statistics.median(ratios)
        bar = BARS.get(name)
        met &= bar is None or ratio <= bar
        verdict = "" if bar is None else f"  bar {bar}x: {'met' if ratio <= bar else 'MISSED'}"
        spread = f"{ratio:.2f}x [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        print(f"{name:20} p50 {statistics.median(p50s):.3f} ms  {spread}{verdict}")
        document[name] = {"p50_ms": statistics.median(p50s), "ratio": ratio, "lowest": ratios[0], "highest": ratios[-1]}
    print(json.dumps(document))
    return met


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=1500)
    parser.add_argument("--serve", choices=["bare", "mesh", "mtls"], help=argparse.SUPPRESS)
    parser.add_argument("--tls", type=Path, default=Path(), help=argparse.SUPPRESS)
    parser.add_argument("--collector", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve == "bare":
        asyncio.run(serve_bare())
    elif chosen.serve:
        serve_chassis(chosen.serve, chosen.tls, chosen.collector)
    else:
        sys.exit(0 if main(chosen.rounds, chosen.calls) else 1)
