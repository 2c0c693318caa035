"""Services that a checkup may meet: one that answers, one that fails, one that does not apply, one that never ends."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc.aio
from google.protobuf.wrappers_pb2 import StringValue

from assay.checkup.section import KIND, Figure, Plot, Section, Table
from assay.checkup.v1 import checkup_pb2
from assay.engine.step import Step, StepContext
from assay.errors import Unimplemented
from assay.operations.job import Job, Run
from assay.server.service import Front, Service

PLOT = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50"><path d="M 0 50 L 100 0" fill="none"
stroke="currentColor"/></svg>"""

TELL = Step("tell", checkup_pb2.ExamineRequest, StringValue)
BREAK = Step("break", checkup_pb2.ExamineRequest, StringValue)
SHRUG = Step("shrug", checkup_pb2.ExamineRequest, StringValue)
DAWDLE = Step("dawdle", checkup_pb2.ExamineRequest, StringValue)


def tell(request: checkup_pb2.ExamineRequest, context: StepContext) -> StringValue:
    """A section on the sizes of the model's files."""
    files = context.artifacts.manifest(request.model).files
    total = sum(file.size_bytes for file in files)
    for done in range(3):
        context.progress(done + 1, 3, "files")
    section = Section(
        service="chatty",
        title="Size of files",
        question="How large is this model on disk?",
        answer=f"Its {len(files)} files hold {total} bytes.",
        figures=(Figure("Bytes", total, "bytes", total - 1, total + 1, "counted"),),
        tables=(Table("Files", ("file", "bytes"), tuple((file.path, file.size_bytes) for file in files)),),
        plots=(Plot("sizes.svg", "Sizes", "One line."),),
        caveats=("Bytes say little.",),
        lineage={"model": request.model},
    )
    digest = context.artifacts.put(KIND, section.to_files({"sizes.svg": PLOT}), inputs=[request.model, request.text])
    return StringValue(value=digest)


def break_down(request: checkup_pb2.ExamineRequest, context: StepContext) -> StringValue:
    raise RuntimeError("the secret of the host")


def shrug(request: checkup_pb2.ExamineRequest, context: StepContext) -> StringValue:
    raise Unimplemented("this model has no experts; ask about one that has")


def dawdle(request: checkup_pb2.ExamineRequest, context: StepContext) -> StringValue:
    """Writes the time into the file ASSAY_TEST_BEATS every 10 ms until it is stopped."""
    with Path(os.environ["ASSAY_TEST_BEATS"]).open("a") as out:
        while True:
            context.cancel.check()
            out.write(f"{time.time()}\n")
            out.flush()
            context.progress(1, 0, "beats")
            time.sleep(0.01)


STEPS = {TELL: tell, BREAK: break_down, SHRUG: shrug, DAWDLE: dawdle}


def _examination(step: Step[checkup_pb2.ExamineRequest, StringValue]) -> Callable[..., Awaitable[object]]:
    async def examine(run: Run, request: checkup_pb2.ExamineRequest) -> checkup_pb2.ExamineResult:
        return checkup_pb2.ExamineResult(section=(await run.step(step.name, step, request)).value)

    return examine


def _add_to_server(server: grpc.aio.Server, front: Front) -> None:
    server.add_registered_method_handlers(front.service.full_name, {})


def _service(name: str, step: Step[checkup_pb2.ExamineRequest, StringValue]) -> Service:
    job = Job(
        f"/assay.checkup.v1.CheckupService/Examine/{name}",
        checkup_pb2.ExamineRequest,
        checkup_pb2.ExamineResult,
        _examination(step),  # type: ignore[arg-type]
    )
    full_name = f"assay.probe.v1.{name.capitalize()}Service"
    return Service(name, full_name, "probe.moods", _add_to_server, examine=job)


CHATTY = _service("chatty", TELL)
GRUMPY = _service("grumpy", BREAK)
SHY = _service("shy", SHRUG)
SLOW = _service("slow", DAWDLE)
