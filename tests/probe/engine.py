"""What the probe's steps do."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue

from assay.engine.step import StepContext
from assay.errors import DataLoss, InvalidInput
from probe import steps


def digest_shard(request: StringValue, context: StepContext) -> StringValue:
    """A hash that takes a while: 20 rounds, with the pauses between them polled."""
    shard, _, seconds = request.value.partition(":")
    value = shard
    for done in range(20):
        context.cancel.wait(float(seconds) / 20)
        context.cancel.check()
        value = hashlib.sha256(value.encode()).hexdigest()
        context.progress(done + 1, 20, "rounds")
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


STEPS = {
    steps.DIGEST_SHARD: digest_shard,
    steps.SPIN: spin,
    steps.FAIL: fail,
    steps.ECHO: echo,
    steps.COUNT_UP: count_up,
    steps.WHERE: where,
}
