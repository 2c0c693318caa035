"""Program: 16 processes race for the keys of one store; prints the winners of each round as JSON.

A program of its own, because processes are forked here and a test runner full of threads must not fork.
Usage: race_of_processes.py STORE_URL ROUNDS
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from multiprocessing.synchronize import Barrier

from assay.artifacts.objects import open_object_store

WRITERS = 16


def write(url: str, rounds: int, gate: Barrier, wins: multiprocessing.Queue[tuple[str, int]]) -> None:
    objects = open_object_store(url)
    for round_ in range(rounds):
        info = objects.head("swapped")
        gate.wait(60)
        if objects.put_if_absent(f"put/{round_}", b"x"):
            wins.put(("put", round_))
        if objects.compare_and_swap("swapped", str(round_).encode(), info.version if info else None):
            wins.put(("swapped", round_))
        gate.wait(60)
    wins.put(("end", 0))


def main(url: str, rounds: int) -> None:
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(WRITERS)
    wins: multiprocessing.Queue[tuple[str, int]] = context.Queue()
    for _ in range(WRITERS):
        context.Process(target=write, args=(url, rounds, gate, wins), daemon=True).start()
    count = {"put": [0] * rounds, "swapped": [0] * rounds, "end": [0]}
    while count["end"][0] < WRITERS:
        what, round_ = wins.get(timeout=60)
        count[what][round_] += 1
    print(json.dumps(count))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
