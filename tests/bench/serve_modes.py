"""Ray Serve's ways to carry a call, measured side by side: the figures behind docs/adr/0001-ray-serve-mode.md.

    PYTHONPATH=tests python tests/bench/serve_modes.py [--parts latency,models,steps] [--rounds 15] [--out FILE]

By default: what a call costs in Serve's default mode and in the chosen one, one replica each. The parts: what it
costs in every mode, at one and at three replicas; how often a call finds its model loaded; what becomes of open
steps when replicas are replaced, scaled down or killed, whether a slow reader holds a step back, and scaling to
zero and waking.

Every cluster is a real local Ray; the rivals of a cell are called in turn, in rounds that pair what is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import DoubleValue, StringValue
from probe import steps
from probe.service import FULL_NAME
from probe.serving import FrontProcess

from assay.engine.engine import StepCall, StepProgress
from assay.engine.local_ray import EngineSpec, LocalRay
from assay.engine.on_serve import ServeEngine
from assay.engine.serve_mode import CHOSEN
from assay.engine.serve_wire import TOKEN_VARIABLE
from assay.errors import AssayError

BAR = 4.0  # front -> engine on Serve against bare, p50 at one client, in the chosen mode
CALLS = {1: 200, 16: 25}  # by clients: calls of each in a round
MODELS, MODELS_KEPT = 9, 4  # three replicas that keep four models could hold them all, and a third again

TWO_LOOPS = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "1"}
BY_MODEL = {"RAY_SERVE_HAPROXY_BALANCE_ALGORITHM": "hdr(multiplexed_model_id)"}


@dataclass(frozen=True)
class Variant:
    """A mode, and what is set differently in it."""

    name: str
    mode: str
    environment: dict[str, str]


DEFAULT = Variant("default", "default", {})
CHOSEN_ONE = Variant(CHOSEN, CHOSEN, {})
VARIANTS = (
    DEFAULT,
    Variant("grpc", "grpc", {}),
    Variant("haproxy", "haproxy", {}),
    Variant("haproxy, two loops", "haproxy", TWO_LOOPS),
)


@contextmanager
def cluster(variant: Variant, replicas: str, **options: Any) -> Iterator[LocalRay]:
    with tempfile.TemporaryDirectory() as store:
        spec = EngineSpec("probe", "probe.engine", replicas=replicas, **options)
        running = LocalRay([spec], f"file://{store}", mode=variant.mode, cpus=2, environment=variant.environment)
        running.start()
        try:
            yield running
        finally:
            running.stop()


@asynccontextmanager
async def engine_of(running: LocalRay) -> AsyncIterator[ServeEngine]:
    engine = ServeEngine(running.address, "probe", token=running.token)
    try:
        yield engine
    finally:
        await engine.close()


# What a call costs


def serve_bare() -> None:
    """A grpc.aio server with nothing around it."""

    async def run() -> None:
        async def echo(request: StringValue, context: grpc.aio.ServicerContext) -> StringValue:
            return request

        handler = grpc.unary_unary_rpc_method_handler(echo, StringValue.FromString, StringValue.SerializeToString)
        server = grpc.aio.server()
        server.add_registered_method_handlers(FULL_NAME, {"EngineEcho": handler})
        print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
        await server.start()
        await server.wait_for_termination()

    asyncio.run(run())


@contextmanager
def bare() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve-bare"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


async def seconds_of(call: Callable[[], Awaitable[Any]], clients: int, calls: int) -> list[float]:
    """How long each call took, with `clients` of them under way."""
    taken = []

    async def client() -> None:
        for _ in range(calls):
            begun = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - begun)

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken


async def latency(running: LocalRay, rounds: int) -> dict[str, Any]:
    """By clients and rival: p50 and p99 in ms over all rounds, and p50's ratio to bare, median and range of rounds."""
    request = StringValue(value="x" * 32)
    with bare() as address, tempfile.TemporaryDirectory() as store:
        front = FrontProcess(f"file://{store}", {TOKEN_VARIABLE: running.token}, engine=running.address)
        front.start()
        try:
            async with (
                grpc.aio.insecure_channel(address) as plain,
                grpc.aio.insecure_channel(front.address) as fronted,
                engine_of(running) as engine,
            ):
                path = (f"/{FULL_NAME}/EngineEcho", StringValue.SerializeToString, StringValue.FromString)
                call_bare, call_front = plain.unary_unary(*path), fronted.unary_unary(*path)
                rivals: dict[str, Callable[[], Awaitable[Any]]] = {
                    "bare": lambda: call_bare(request, timeout=20),
                    "engine": lambda: engine.run(steps.ECHO, request, StepCall(time.time() + 20)),
                    "front -> engine": lambda: call_front(request, timeout=20),
                }
                return {str(clients): await _cell(rivals, clients, rounds) for clients in CALLS}
        finally:
            front.kill()


async def _cell(rivals: dict[str, Callable[[], Awaitable[Any]]], clients: int, rounds: int) -> dict[str, Any]:
    for call in rivals.values():
        await seconds_of(call, clients, CALLS[clients] // 2)  # warm-up
    taken: dict[str, list[list[float]]] = {name: [] for name in rivals}
    names = list(rivals)
    for number in range(rounds):
        turn = number % len(names)  # no one is always first
        for name in names[turn:] + names[:turn]:
            taken[name].append(await seconds_of(rivals[name], clients, CALLS[clients]))
    p50s = {name: [statistics.median(each) * 1e3 for each in of_rounds] for name, of_rounds in taken.items()}
    cell: dict[str, Any] = {}
    for name, of_rounds in taken.items():
        everything = sorted(seconds for each in of_rounds for seconds in each)
        ratios = sorted(ours / plain for ours, plain in zip(p50s[name], p50s["bare"], strict=True))
        cell[name] = {
            "p50_ms": round(statistics.median(everything) * 1e3, 3),
            "p99_ms": round(everything[int(len(everything) * 0.99)] * 1e3, 3),
            "ratio": round(statistics.median(ratios), 2),
            "ratio_range": [round(ratios[0], 2), round(ratios[-1], 2)],
        }
    return cell


# Whether a call finds its model


async def model_hits(running: LocalRay, calls: int = 900) -> dict[str, Any]:
    """Share of calls whose replica had the model, after as many to warm up; and how one hot model is spread."""
    rng = random.Random(0)
    async with engine_of(running) as engine:

        async def ask(name: str) -> str:
            answer = await engine.run(steps.MODEL, StringValue(value=name), StepCall(time.time() + 60, model_id=name))
            return answer.value

        async def share(count: int) -> float:
            room = asyncio.Semaphore(8)

            async def one() -> str:
                async with room:
                    return await ask(f"model-{rng.randrange(MODELS)}")

            answers = await asyncio.gather(*(one() for _ in range(count)))
            return sum(answer.endswith("hit") for answer in answers) / count

        await share(calls)
        hits = await share(calls)
        hot = await asyncio.gather(*(_hot(engine) for _ in range(24)))
        busiest = max(Counter(hot).values()) / len(hot)
    return {"calls": calls, "hit_share": round(hits, 3), "hot_model_share_of_busiest_replica": round(busiest, 3)}


async def _hot(engine: ServeEngine) -> str:
    """Half a second of work on one model that everyone wants; where it ran."""
    call = StepCall(time.time() + 60, model_id="hot")
    return (await engine.run(steps.SILENT, DoubleValue(value=0.5), call)).value


# What becomes of open steps


@dataclass
class Watched:
    """Open steps of `seconds` each, and short calls beside them, while something is done to their replicas."""

    steps_done: int = 0
    steps_cut: int = 0
    calls_done: int = 0
    calls_failed: int = 0
    longest_gap_s: float = 0.0

    def document(self) -> dict[str, Any]:
        return {**self.__dict__, "longest_gap_s": round(self.longest_gap_s, 1)}


async def watched(
    running: LocalRay, count: int, seconds: float, event: Callable[[ServeEngine], Awaitable[None]]
) -> Watched:
    """event: what is done once the steps are open. A gap is the time between two short calls that succeed."""
    seen = Watched()
    async with engine_of(running) as engine:

        async def step() -> None:
            try:
                async with aclosing(engine.stream(steps.SILENT, DoubleValue(value=seconds), StepCall())) as events:
                    async for answer in events:
                        if not isinstance(answer, StepProgress):
                            seen.steps_done += 1
            except AssayError:
                seen.steps_cut += 1

        async def call() -> None:
            last = time.monotonic()
            while True:
                try:
                    await engine.run(steps.ECHO, StringValue(), StepCall(time.time() + 30))
                    seen.calls_done += 1
                    seen.longest_gap_s = max(seen.longest_gap_s, time.monotonic() - last)
                    last = time.monotonic()
                except AssayError:
                    seen.calls_failed += 1
                await asyncio.sleep(0.05)

        await engine.describe()
        calling = asyncio.create_task(call())
        open_steps = [asyncio.create_task(step()) for _ in range(count)]
        await asyncio.sleep(2)
        await event(engine)
        await asyncio.gather(*open_steps)
        answered, until = seen.calls_done, time.monotonic() + 60
        while seen.calls_done < answered + 5 and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    return seen


async def replaced(running: LocalRay, spec: EngineSpec, count: int, seconds: float) -> Watched:
    async def event(engine: ServeEngine) -> None:
        await asyncio.to_thread(running.deploy, [spec])

    return await watched(running, count, seconds, event)


async def killed(running: LocalRay, count: int, seconds: float) -> Watched:
    victim = _replica_pids(running)[0]

    async def event(engine: ServeEngine) -> None:
        os.kill(victim, signal.SIGKILL)

    return await watched(running, count, seconds, event)


async def scaled_down(running: LocalRay, seconds: float) -> dict[str, Any]:
    """One long step stays open while the replicas that short ones brought up go again."""
    async with engine_of(running) as engine:

        async def step(duration: float) -> str:
            return (await engine.run(steps.SILENT, DoubleValue(value=duration), StepCall(time.time() + 600))).value

        short = [asyncio.create_task(step(40)) for _ in range(3)]
        await asyncio.sleep(30)  # time to scale up
        asked = [await step(0.0) for _ in range(12)]
        long = asyncio.create_task(step(seconds))
        await asyncio.gather(*short)
        counts = []
        while not long.done():
            counts.append(len(_replica_pids(running)))
            await asyncio.sleep(1)
        cut = (await asyncio.gather(long, return_exceptions=True))[0]
    return {
        "replicas": [max(counts), min(counts)],
        "first_call_on_a_new_replica": next((n for n, pid in enumerate(asked) if pid != asked[0]), None),
        "replicas_answering": len(set(asked)),
        "step_cut": isinstance(cut, BaseException),
    }


def _replica_pids(running: LocalRay) -> list[int]:
    found = []
    for pid in running.processes():
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ServeReplica"):
                found.append(pid)
        except OSError:
            continue
    return found


async def to_zero(running: LocalRay) -> dict[str, Any]:
    """Seconds until an idle engine has no replica, and until a call is answered then."""
    async with engine_of(running) as engine:
        found: dict[str, Any] = {"first_answer_s": await _answer_s(engine)}
        begun = time.monotonic()
        while _replica_pids(running) and time.monotonic() - begun < 120:
            await engine.check()  # as a front's health does; it must not keep the engine awake
            await asyncio.sleep(1)
        found["idle_to_zero_s"] = round(time.monotonic() - begun, 1) if not _replica_pids(running) else None
        found["wake_s"] = await _answer_s(engine)
    return found


async def _answer_s(engine: ServeEngine) -> float | str:
    """Seconds until a step is answered, tried again as operations do; or how it failed for two minutes."""
    begun, said = time.monotonic(), ""
    while time.monotonic() - begun < 120:
        try:
            await engine.run(steps.ECHO, StringValue(), StepCall(time.time() + 60))
            return round(time.monotonic() - begun, 1)
        except AssayError as error:
            said = f"{error.code} {error.reason}"
            await asyncio.sleep(0.5)
    return said


async def read_slowly(running: LocalRay) -> int:
    """How many of 1000 replies of 256 KiB a step has made for a reader that takes one in two seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/count"
        async with engine_of(running) as engine:
            blobs = engine.stream(steps.BLOBS, StringValue(value=f"{file}|1000"), StepCall())
            async with aclosing(blobs) as events:
                async for _ in events:
                    await asyncio.sleep(2)
                    break
        return size_of(file)


def size_of(file: str) -> int:
    return Path(file).stat().st_size


# The whole run


def main(parts: list[str], rounds: int, out: str) -> None:
    everything = parts != ["bar"]
    document: dict[str, Any] = {"bench": "serve_modes", "date": datetime.date.today().isoformat(), **_machine()}
    cells: dict[str, Any] = {}
    document["cells"] = cells

    def note(variant: Variant, what: str, found: Any) -> None:
        load = [round(each, 1) for each in os.getloadavg()]
        cells.setdefault(variant.name, {})[what] = {"found": found, "load_average": load}
        _print(variant.name, what, found)

    if "latency" in parts or not everything:
        for variant in VARIANTS if everything else (DEFAULT, CHOSEN_ONE):
            for replicas in ("1", "3") if everything else ("1",):
                with cluster(variant, replicas) as running:
                    note(variant, f"latency, {replicas} replicas", asyncio.run(latency(running, rounds)))
        ours = cells[CHOSEN_ONE.name]["latency, 1 replicas"]["found"]["1"]["front -> engine"]["ratio"]
        print(f"front -> engine on Serve ({CHOSEN}), one client: {ours:.2f}x bare; bar {BAR}x: ", end="")
        print("met" if ours <= BAR else "MISSED")
    if "models" in parts:
        for variant in (*VARIANTS[:3], Variant("haproxy, by model", "haproxy", BY_MODEL)):
            with cluster(variant, "3") as running:
                note(variant, "models, 3 replicas", asyncio.run(model_hits(running)))
    if "steps" in parts:
        for variant in VARIANTS[:3]:
            _streams(variant, note)
        variant = VARIANTS[3]
        with cluster(variant, "1") as running:
            note(variant, "slow reader, 1 replicas", asyncio.run(read_slowly(running)))
        variant = Variant("haproxy, hard stop 10 s", "haproxy", {"RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "10"})
        with cluster(variant, "3", drain_s=60) as running:
            spec = EngineSpec("probe", "probe.engine", replicas="3", drain_s=60)
            note(variant, "replaced, 3 replicas", asyncio.run(replaced(running, spec, 6, 40)).document())
    line = json.dumps(document)
    if out:
        Path(out).write_text(line + "\n")
    print(line)


def _streams(variant: Variant, note: Callable[[Variant, str, Any], None]) -> None:
    for replicas, count in (("1", 3), ("3", 6)):  # fewer than a replica has threads, so that short calls find one
        with cluster(variant, replicas, drain_s=60) as running:
            spec = EngineSpec("probe", "probe.engine", replicas=replicas, drain_s=60)
            note(variant, f"slow reader, {replicas} replicas", asyncio.run(read_slowly(running)))
            note(variant, f"replaced, {replicas} replicas", asyncio.run(replaced(running, spec, count, 20)).document())
            note(variant, f"killed, {replicas} replicas", asyncio.run(killed(running, count, 15)).document())
    with cluster(variant, "1:3", drain_s=60, downscale_delay_s=5) as running:
        note(variant, "scaled down", asyncio.run(scaled_down(running, 75)))
    with cluster(variant, "0:1", downscale_delay_s=5) as running:
        note(variant, "zero", asyncio.run(to_zero(running)))


def _print(variant: str, what: str, found: Any) -> None:
    if not what.startswith("latency"):
        print(f"{variant:24} {what:24} {json.dumps(found)}", flush=True)
        return
    for clients, cell in found.items():
        for rival, figures in cell.items():
            low, high = figures["ratio_range"]
            print(
                f"{variant:24} {what:24} {clients:>2} clients  {rival:16} p50 {figures['p50_ms']:7.2f} ms  "
                f"p99 {figures['p99_ms']:7.2f} ms  {figures['ratio']:6.2f}x [{low:.2f}, {high:.2f}]",
                flush=True,
            )


def _machine() -> dict[str, Any]:
    model = ""
    if (info := Path("/proc/cpuinfo")).exists():
        model = next((line.partition(": ")[2] for line in info.read_text().splitlines() if "model name" in line), "")
    names = ("ray", "grpcio", "protobuf")
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--parts",
        default="bar",
        help="of latency,models,steps: every mode, about 12, 3 and 15 minutes; by default what the bar needs",
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", default="", help="write the JSON line there as well")
    parser.add_argument("--serve-bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_bare:
        serve_bare()
    else:
        main(arguments.parts.split(","), arguments.rounds, arguments.out)
