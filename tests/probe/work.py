"""What the workers of the tests of data-parallel work do: functions that a fresh process can import."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

from assay.errors import InvalidInput


def square(number: int) -> int:
    return number * number


def slow_when_early(number: int) -> int:
    """The first items take longest, so that results come in the wrong order."""
    time.sleep(0.2 if number < 2 else 0.0)
    return number


def pid_of(number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def native_threads(number: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


def refuse(number: int) -> int:
    if number == 3:
        raise InvalidInput("items[3]", "is the third; leave it out")
    return number


class NeedsTwoArguments(Exception):
    """Cannot be unpickled as it is."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def raise_what_cannot_travel(number: int) -> int:
    raise NeedsTwoArguments("out of ", "cheese")


def die_once(marker: str) -> str:
    """Kills its own process where the marker is not there yet."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), 9)
    return "survived"


def die(number: int) -> int:
    os._exit(9)


def note_and_sleep(folder: str) -> None:
    """Leaves its process id and sleeps for a minute."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)


def note_and_hash(folder: str) -> None:
    """Leaves its process id and stays in native code that releases the interpreter lock."""
    Path(folder, str(os.getpid())).touch()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 200_000_000)


def note_and_match(folder: str) -> None:
    """Leaves its process id and stays in native code that keeps the interpreter lock: no thread of it can run."""
    Path(folder, str(os.getpid())).touch()
    re.match(r"(a+)+$", "a" * 40 + "b")


def hash_unless_told(folder: str) -> None:
    """As note_and_hash; returns at once where there is no folder."""
    if folder:
        note_and_hash(folder)
