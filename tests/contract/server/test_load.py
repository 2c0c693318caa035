"""Many calls at once, for long: no error, and a front that stays as large as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import DoubleValue, Int64Value, StringValue
from probe.serving import FULL_NAME, FrontProcess, method

CALLS, IN_FLIGHT, STREAMS, MESSAGES = 5000, 64, 500, 20
ROUNDS = 5
# 27,500 calls and streams follow the warm-up. The allocator alone moves a process by some hundred KiB; a front that
# kept so much as the request (1 KiB) of every call would grow by 27 MiB.
GROWTH_BYTES = 4 * 2**20


def resident_bytes(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


async def at_most(in_flight: int, count: int, call: Callable[[int], Awaitable[None]]) -> None:
    """`count` calls, `in_flight` at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


async def load(channel: grpc.aio.Channel) -> None:
    """5,000 unary calls, every tenth through the engine, and 500 streams; any error ends it."""
    echo, engine_echo = method(channel, "Echo"), method(channel, "EngineEcho")
    count = channel.unary_stream(f"/{FULL_NAME}/Count", Int64Value.SerializeToString, DoubleValue.FromString)

    async def unary(number: int) -> None:
        request = StringValue(value=f"{number} {'x' * 1000}")
        answer = await (engine_echo if number % 10 == 0 else echo)(request, timeout=60)
        assert answer.value == request.value

    async def stream(number: int) -> None:
        received = [message.value async for message in count(Int64Value(value=MESSAGES), timeout=60)]
        assert received == list(range(MESSAGES))

    await at_most(IN_FLIGHT, CALLS, unary)
    await at_most(IN_FLIGHT, STREAMS, stream)


@pytest.mark.slow
async def test_5000_calls_at_64_in_flight_and_500_streams_again_and_again_leave_no_trace(
    store: str, record_property: Callable[[str, object], None]
) -> None:
    front = FrontProcess(store)
    address = await asyncio.to_thread(front.start)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            await load(channel)
            warm = resident_bytes(front.process.pid)
            for _ in range(ROUNDS):
                await load(channel)
            growth = resident_bytes(front.process.pid) - warm
            record_property("resident_bytes_when_warm", warm)
            record_property("growth_bytes", growth)
            print(f"resident when warm {warm / 2**20:.1f} MiB, growth {growth / 2**20:+.2f} MiB")
            assert growth < GROWTH_BYTES
    finally:
        await asyncio.to_thread(front.stop)


async def test_500_streams_at_once_arrive_whole(store: str) -> None:
    front = FrontProcess(store)
    address = await asyncio.to_thread(front.start)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            count = channel.unary_stream(f"/{FULL_NAME}/Count", Int64Value.SerializeToString, DoubleValue.FromString)

            async def total() -> float:
                return sum([message.value async for message in count(Int64Value(value=MESSAGES), timeout=60)])

            totals = await asyncio.gather(*(total() for _ in range(STREAMS)))
        assert totals == [sum(range(MESSAGES))] * STREAMS
    finally:
        await asyncio.to_thread(front.stop)
