"""What the probe's steps do."""

import hashlib
import os
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue

from assay.compute import LocalCompute
from assay.engine.step import StepContext
from assay.errors import DataLoss, InvalidInput
from probe import compute_cases, steps, work

if os.environ.get("ASSAY_PROBE_TORCH"):
    import torch  # noqa: F401  (as engines that compute do)

MODELS_KEPT = 4
LOADED: OrderedDict[str, None] = OrderedDict()
LOADING = threading.Lock()


def digest_shard(request: StringValue, context: StepContext) -> StringValue:
    """A hash that takes a while: 20 rounds, with the pauses between them polled.

    What it has computed it notes in the file that ASSAY_PROBE_LEDGER names.
    """
    shard, _, seconds = request.value.partition(":")
    value = shard
    for done in range(20):
        context.cancel.wait(float(seconds) / 20)
        context.cancel.check()
        value = hashlib.sha256(value.encode()).hexdigest()
        context.progress(done + 1, 20, "rounds", share=(done + 1) / 20)
    if ledger := os.environ.get("ASSAY_PROBE_LEDGER"):
        with Path(ledger).open("a") as out:
            out.write(f"{os.getpid()} {shard}\n")
    return StringValue(value=value)


def spin(request: StringValue, context: StepContext) -> StringValue:
    """Appends the time to a file, every 10 ms: where the file stops growing, the work has stopped."""
    with Path(request.value).open("a") as out:
        done = 0
        while True:
            context.cancel.check()
            done += 1
            out.write(f"{time.time()}\n")
            out.flush()
            context.progress(done, 0, "turns")
            time.sleep(0.01)


def crunch(request: StringValue, context: StepContext) -> StringValue:
    list(LocalCompute(2).map(work.note_and_match, [request.value] * 2, cancel=context.cancel))
    return request


def fail(request: StringValue, context: StepContext) -> StringValue:
    match request.value:
        case "invalid":
            raise InvalidInput("layers[3].tokens", "is negative; send counts")
        case "data-loss":
            raise DataLoss("the blob is damaged; put it again")
        case _:
            raise RuntimeError(f"secret of the host: {request.value}")


def echo(request: StringValue, context: StepContext) -> StringValue:
    return request


def where(request: StringValue, context: StepContext) -> StringValue:
    return StringValue(value=str(os.getpid()))


def count_up(request: Int64Value, context: StepContext) -> Iterator[DoubleValue]:
    for number in range(request.value):
        yield DoubleValue(value=number)


def blob(request: Int64Value, context: StepContext) -> StringValue:
    return StringValue(value="x" * request.value)


def blobs(request: StringValue, context: StepContext) -> Iterator[StringValue]:
    file, _, count = request.value.partition("|")
    for _ in range(int(count)):
        with Path(file).open("ab") as made:
            made.write(b".")
        yield StringValue(value="x" * 2**18)


def silent(request: DoubleValue, context: StepContext) -> StringValue:
    context.cancel.wait(request.value)
    return StringValue(value=str(os.getpid()))


def read_object(request: StringValue, context: StepContext) -> StringValue:
    return StringValue(value=context.artifacts.objects.get(request.value).decode())


def model(request: StringValue, context: StepContext) -> StringValue:
    with LOADING:
        found = "hit" if request.value in LOADED else "miss"
        LOADED[request.value] = None
        LOADED.move_to_end(request.value)
        if len(LOADED) > MODELS_KEPT:
            LOADED.popitem(last=False)
    return StringValue(value=f"{os.getpid()} {found}")


def compute_case(request: StringValue, context: StepContext) -> StringValue:
    name, _, folder = request.value.partition("|")
    try:
        getattr(compute_cases, name)(context.compute, Path(folder))
    except Exception:
        return StringValue(value=traceback.format_exc())
    return StringValue()


STEPS = {
    steps.DIGEST_SHARD: digest_shard,
    steps.SPIN: spin,
    steps.CRUNCH: crunch,
    steps.FAIL: fail,
    steps.ECHO: echo,
    steps.COUNT_UP: count_up,
    steps.WHERE: where,
    steps.BLOB: blob,
    steps.BLOBS: blobs,
    steps.SILENT: silent,
    steps.READ_OBJECT: read_object,
    steps.MODEL: model,
    steps.COMPUTE_CASE: compute_case,
}
