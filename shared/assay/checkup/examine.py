"""Asks services about a model, all at once; one that fails, is away or has nothing to say does not stop the others."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from google.longrunning import operations_pb2

from assay.artifacts.manifest import Artifact
from assay.checkup.section import DOCUMENT, KIND, Section
from assay.checkup.svg import MAX_BYTES as MAX_PLOT_BYTES
from assay.checkup.targets import Target
from assay.checkup.v1 import checkup_pb2, checkup_pb2_grpc
from assay.errors import AssayError, Cancelled, DataLoss, Internal, ResourceExhausted, Unavailable
from assay.operations.v1 import operations_pb2 as assay_operations_pb2

START_TIMEOUT_S = 180.0  # an embedded engine imports torch first, which takes its time on a busy machine
STOP_PATIENCE_S = 6.0
MAX_SECTION_BYTES = 16 * 2**20

State = Literal["answered", "not_applicable", "failed", "unreachable", "cancelled"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What came of asking one service.

    state: "not_applicable" where its question does not apply to the model. section, plots (SVG by file name) and
    lineage (inputs before what was made from them) where it answered; error where it did not.
    """

    service: str
    state: State
    seconds: float
    where: str = ""
    operation: str = ""
    digest: str = ""
    section: Section | None = None
    plots: Mapping[str, bytes] = field(default_factory=dict)
    lineage: Sequence[Artifact] = ()
    error: AssayError | None = None


class Listener(Protocol):
    """Hears how one service gets on; called from several threads."""

    def operation(self, metadata: assay_operations_pb2.OperationMetadata) -> None: ...

    def finish(self, outcome: str) -> None: ...


def examine_all(asked: Sequence[Target], model: str, text: str, listen: Callable[[str], Listener]) -> Sequence[Answer]:
    """The answers of all services, in the order of `asked`. model, text: digests.

    Interrupted by Ctrl-C, it cancels what is running, waits a few seconds for that and lets the interrupt go on.
    """
    done: queue.Queue[tuple[int, Answer]] = queue.Queue()
    runs = [Examination(target, model, text, listen(target.service)) for target in asked]

    def work(index: int) -> None:
        done.put((index, runs[index].answer()))

    for index in range(len(runs)):
        # Daemons: a service that hangs must not keep an interrupted command alive.
        threading.Thread(target=work, args=(index,), name=f"ask-{asked[index].service}", daemon=True).start()
    answers: dict[int, Answer] = {}
    try:
        while len(answers) < len(runs):
            index, answer = done.get()
            answers[index] = answer
    except KeyboardInterrupt:
        _stop([run for index, run in enumerate(runs) if index not in answers])
        raise
    return [answers[index] for index in range(len(runs))]


def _stop(runs: Sequence[Examination]) -> None:
    stopping = [threading.Thread(target=run.stop, daemon=True) for run in runs]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join(STOP_PATIENCE_S)


class Examination:
    """One service being asked."""

    def __init__(self, target: Target, model: str, text: str, listener: Listener) -> None:
        self._target, self._listener = target, listener
        self._request = checkup_pb2.ExamineRequest(
            request_id=str(uuid.uuid4()), service=target.service, model=model, text=text
        )
        self._operation = operations_pb2.Operation()
        self._starting = threading.Lock()
        self._stopped = False

    def answer(self) -> Answer:
        """Never raises: whatever goes wrong is the answer."""
        begun = time.monotonic()
        try:
            found = self._ask(begun)
        except AssayError as error:
            found = self._failure(error, begun)
        except Exception:
            log.exception("asking %s", self._target.service)
            found = self._failure(Internal("the answer could not be read, a defect of this command"), begun)
        self._listener.finish(outcome(found))
        return found

    def stop(self) -> None:
        """Cancels the operation, now or as soon as it has started."""
        self._stopped = True
        with self._starting:
            if self._operation.name:
                self._target.connection.stop(self._operation)

    def _ask(self, begun: float) -> Answer:
        connection = self._target.connection
        stub = checkup_pb2_grpc.CheckupServiceStub(connection.channel)
        with self._starting:
            if self._stopped:
                raise Cancelled()
            started = connection.call(stub.Examine, self._request, timeout_s=START_TIMEOUT_S)
            self._operation = started.operation
        finished = connection.wait(self._operation, self._listener.operation)
        digest = connection.result(finished, checkup_pb2.ExamineResult).section
        section, plots = read_section(self._target, digest)
        return Answer(
            service=self._target.service,
            state="answered",
            seconds=time.monotonic() - begun,
            where=self._target.where,
            operation=self._operation.name,
            digest=digest,
            section=section,
            plots=plots,
            lineage=self._lineage(digest),
        )

    def _lineage(self, digest: str) -> Sequence[Artifact]:
        artifacts = self._target.connection.artifacts
        try:
            return artifacts.lineage(digest)
        except ResourceExhausted:  # too long for one message; its head at least
            return [artifacts.get(digest)]

    def _failure(self, error: AssayError, begun: float) -> Answer:
        return Answer(
            service=self._target.service,
            state=state_of(error),
            seconds=time.monotonic() - begun,
            where=self._target.where,
            operation=self._operation.name,
            error=error,
        )


def read_section(target: Target, digest: str) -> tuple[Section, Mapping[str, bytes]]:
    """The section and its plots. DataLoss where the artifact is none, or larger than one may be."""
    artifacts = target.connection.artifacts
    artifact = artifacts.get(digest)
    sizes = {file.path: file.size_bytes for file in artifact.manifest.files}
    if artifact.manifest.kind != KIND or DOCUMENT not in sizes:
        raise DataLoss(f"{target.service} gave an artifact that is no section; upgrade the service and ask again")
    if sizes[DOCUMENT] > MAX_SECTION_BYTES:
        raise DataLoss(f"{target.service} gave a section of {sizes[DOCUMENT]} bytes; at most {MAX_SECTION_BYTES}")
    section = Section.from_document(artifacts.read(digest, DOCUMENT))
    # A plot that is absent or too large is told of on the card; the rest of the section stands.
    shown = [plot.file for plot in section.plots if 0 < sizes.get(plot.file, 0) <= MAX_PLOT_BYTES]
    return section, {name: artifacts.read(digest, name) for name in shown}


def unasked(target: Target, error: AssayError) -> Answer:
    """For a service that could not be handed the model."""
    return Answer(service=target.service, state=state_of(error), seconds=0.0, where=target.where, error=error)


def state_of(error: AssayError) -> State:
    if error.code == "UNIMPLEMENTED":
        return "not_applicable"
    if isinstance(error, Unavailable):
        return "unreachable"
    return "cancelled" if isinstance(error, Cancelled) else "failed"


def outcome(answer: Answer) -> str:
    """One line on what came of it."""
    match answer.state:
        case "answered":
            return f"answered in {answer.seconds:.1f} s"
        case "not_applicable":
            return "does not apply"
        case "cancelled":
            return "cancelled"
    words = "cannot be reached" if answer.state == "unreachable" else "failed"
    return f"{words}: {answer.error.message}" if answer.error else words
