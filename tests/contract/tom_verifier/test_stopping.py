"""A call that is cancelled or too late stops the engine itself, at once: measured in its thread's processor time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from contract.tom_verifier.conftest import QUESTION

from assay.client.connection import Connection, connect
from assay.config import Config
from assay.errors import Cancelled, DeadlineExceeded
from assay.tom_verifier.v1 import epistemic_pb2, stories_pb2, tom_verifier_pb2_grpc, traces_pb2, verifier_pb2

BOUND_S = 0.2
THING = "The celery is in the red_box.\n"
EIGHT = "Owen, Liam, Ava, Emma, Noah, Jack, Chloe and Mia entered the hall.\n"  # as many as the small models know
SCENE = f"Logan and Hannah entered the hall.\n{EIGHT}{THING}"
MOVES = "".join(
    f"Owen moved the celery to the {box}.\n" for box in ("blue_crate", "red_box", "green_drawer") for _ in range(600)
)
MUDDY = 18


class Watch:
    """What a step's thread spent between the cancellation and its end, and what it ended by. begun: the step runs;
    stopped: no more.
    """

    def __init__(self) -> None:
        self.begun, self.stopped = threading.Event(), threading.Event()
        self.spent_s = 0.0
        self.ended_by: BaseException | None = None

    def around(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def watched(request: Any, context: Any) -> Any:
            clock = time.pthread_getcpuclockid(threading.get_ident())
            cancelled: list[float] = []
            context.cancel.on_cancel(lambda: cancelled.append(time.clock_gettime(clock)))
            self.begun.set()

            def ended(by: BaseException | None = None) -> None:
                self.ended_by = by
                self.spent_s = time.clock_gettime(clock) - (cancelled or [time.clock_gettime(clock)])[0]
                self.stopped.set()

            try:
                result = function(request, context)
            except BaseException as error:
                ended(error)
                raise
            return result if not isinstance(result, Iterator) else replies(result, ended)

        def replies(result: Iterator[Any], ended: Callable[[], None]) -> Iterator[Any]:
            try:
                yield from result
            except BaseException as error:
                ended(error)
                raise
            ended()

        return watched


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def watched(watch: Watch, trained: Any, store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A platform of its own whose steps are watched."""
    from assay_tom_verifier import engine

    monkeypatch.setattr(engine, "STEPS", {step: watch.around(run) for step, run in engine.STEPS.items()})
    with connect("tom_verifier", config=Config(store=store)) as opened:
        yield opened


def muddy(backend: Any) -> epistemic_pb2.ModelCheckRequest:
    from assay_tom_verifier.core.epistemic.puzzles import puzzle_text

    again = f"claim C[child1, child2] (muddy1 | {' | '.join(f'K[child{n}] muddy1' for n in range(2, MUDDY))})\n"
    text = puzzle_text("muddy-children", MUDDY if backend == epistemic_pb2.EPISTEMIC_BACKEND_EXPLICIT else 100)
    return epistemic_pb2.ModelCheckRequest(text=text + "\n" + again * 600, backend=backend)


def long_work(name: str, trained: Any) -> Any:
    """A request that would take many seconds."""
    asked = stories_pb2.AskedQuestion(text=QUESTION)
    match name:
        case "explicit":
            return muddy(epistemic_pb2.EPISTEMIC_BACKEND_EXPLICIT)
        case "bdd":
            pytest.importorskip("dd.cudd", reason="needs dd with CUDD: pip install 'assay-tom-verifier[symbolic]'")
            return muddy(epistemic_pb2.EPISTEMIC_BACKEND_BDD)
        case "table":
            return stories_pb2.SimulateRequest(story=SCENE + MOVES, max_order=3)
        case "del":
            chains = [stories_pb2.BeliefChain(agents=["Owen", "Liam"])]
            del_engine = stories_pb2.BELIEF_ENGINE_DEL
            return stories_pb2.SimulateRequest(story=SCENE + MOVES, chains=chains, engine=del_engine)
        case "draw":
            from assay_tom_verifier import engine_drawing  # what draws is imported: the step's time is its work

            story = SCENE + "".join(MOVES.splitlines(keepends=True)[: engine_drawing.DRAWN_LINES - 3])
            return stories_pb2.DrawStoryRequest(story=story)
        case "evaluate" | "audit":
            row = traces_pb2.LabelledRow(story=SCENE + MOVES, question=QUESTION, published_answer="nowhere")
            kind = traces_pb2.EvaluateRequest if name == "evaluate" else traces_pb2.AuditRequest
            return kind(rows=[row] * 40)
        case "generate":
            return stories_pb2.GenerateStoriesRequest(count=100_000, length=3, claims=True)
        case "score":
            story, rest = EIGHT + THING + MOVES[: 41 * 21], ["red_box"] * 14
            boxes = itertools.product(("red_box", "blue_crate", "Null", "elsewhere"), repeat=6)
            traces = []
            for different in boxes:  # 4,096 traces, each to be read
                claims = [traces_pb2.TraceStep(claim=claim) for claim in (*different, *rest)]
                traces.append(traces_pb2.GivenTrace(trace=traces_pb2.Trace(steps=claims)))
            candidates = verifier_pb2.CandidateSet(story=story, question=asked, traces=traces)
            return verifier_pb2.ScoreTracesRequest(verifier=trained.verifier, candidates=candidates)
        case "beam":
            return verifier_pb2.BeamSearchRequest(
                verifier=trained.verifier,
                generator=trained.generator,
                story=EIGHT + THING + MOVES[: 41 * 200],
                question=asked,
                beams=1024,
                expansions=1,
            )
    raise AssertionError(name)


METHODS = {
    "explicit": "ModelCheck",
    "bdd": "ModelCheck",
    "table": "Simulate",
    "del": "Simulate",
    "draw": "DrawStory",
    "evaluate": "Evaluate",
    "audit": "Audit",
    "generate": "GenerateStories",
    "score": "ScoreTraces",
    "beam": "BeamSearch",
}


@pytest.mark.parametrize("how", ["cancelled", "too late"])
@pytest.mark.parametrize("name", METHODS)
def test_the_engine_stops_with_the_call(name: str, how: str, watch: Watch, watched: Connection, trained: Any) -> None:
    stub = tom_verifier_pb2_grpc.TomVerifierServiceStub(watched.channel)
    method, request = getattr(stub, METHODS[name]), long_work(name, trained)
    warm = stories_pb2.ParseStoryRequest(story=SCENE)
    watched.call(stub.ParseStory, warm)  # the engine is imported: what follows is its work
    watch.begun.clear()
    watch.stopped.clear()
    timeout_s = 0.4 if how == "too late" else 60.0
    streams = METHODS[name] in ("Simulate", "GenerateStories")
    call = method(request, timeout=timeout_s) if streams else method.future(request, timeout=timeout_s)
    assert watch.begun.wait(30)
    if how == "cancelled":
        time.sleep(0.15)
        call.cancel()
    assert watch.stopped.wait(30)
    # A stream may also be closed by whoever reads it, between two of its messages.
    assert isinstance(watch.ended_by, (Cancelled, DeadlineExceeded, *((GeneratorExit,) if streams else ())))
    assert watch.spent_s < BOUND_S
    with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
        list(call) if streams else call.result()
