"""What every placement of data-parallel work must do, as functions of the placement and an empty folder.

They run where the placement lives: in the test for local processes, inside a Serve replica for Ray.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assay.cancel import CancelToken
from assay.compute import Compute
from assay.errors import Cancelled, DeadlineExceeded, InvalidInput, Unavailable

STOPS_WITHIN_S = 1.0


def square(number: int) -> int:
    return number * number


def square_slowly_at_first(number: int) -> int:
    time.sleep(0.3 if number < 2 else 0.0)
    return number * number


def die_once(work: tuple[str, int]) -> int:
    """Kills its own process the first time it sees an odd number."""
    folder, number = work
    mark = Path(folder) / f"died-{number}"
    if number % 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def die_always(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> int:
    if number == 2:
        raise InvalidInput("items[2]", "is 2; send another")
    if number == 3:
        raise KeyError("three")
    return number


def hash_for_an_hour(work: tuple[str, int]) -> bytes:
    """Native code that no Python exception interrupts; its pid lies in the folder."""
    folder, number = work
    if number < 0:
        return b""
    (Path(folder) / f"pid-{os.getpid()}").touch()
    return hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def gives_results_in_the_order_of_items(compute: Compute, folder: Path) -> None:
    results = list(compute.map(square_slowly_at_first, range(12), cancel=CancelToken()))
    assert results == [n * n for n in range(12)], results
    assert list(compute.map(square, [], cancel=CancelToken())) == []


def takes_no_more_items_than_it_may_hold(compute: Compute, folder: Path) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(30):
            taken += 1
            yield number

    for given, result in enumerate(compute.map(square, items(), cancel=CancelToken(), max_in_flight=3)):
        assert result == given * given
        assert taken - given <= 3, (taken, given)
    assert taken == 30


def tells_how_far_it_is(compute: Compute, folder: Path) -> None:
    told: list[tuple[int, int, str]] = []

    def progress(done: int, total: int, unit: str = "", **figures: float) -> None:
        told.append((done, total, unit))

    list(compute.map(square, [1, 2, 3], cancel=CancelToken(), progress=progress, unit="squares"))
    assert told == [(1, 3, "squares"), (2, 3, "squares"), (3, 3, "squares")], told


def runs_again_what_a_killed_worker_held(compute: Compute, folder: Path) -> None:
    work = [(str(folder), number) for number in range(4)]
    results = list(compute.map(die_once, work, cancel=CancelToken(), max_in_flight=2))
    assert results == [0, 1, 4, 9], results
    assert len(list(folder.glob("died-*"))) == 2  # so the retries are what gave the results


def gives_up_where_workers_keep_dying(compute: Compute, folder: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        list(compute.map(die_always, [1], cancel=CancelToken(), retries=1))
    assert caught.value.reason == "WORKERS_DIED"


def raises_what_the_function_raised(compute: Compute, folder: Path) -> None:
    given: list[int] = []
    with pytest.raises(InvalidInput) as caught:
        given.extend(compute.map(refuse, [1, 2], cancel=CancelToken()))
    assert type(caught.value) is InvalidInput
    assert caught.value.violations[0].field == "items[2]"
    with pytest.raises(KeyError) as other:
        given.extend(compute.map(refuse, [1, 3], cancel=CancelToken()))
    assert type(other.value) is KeyError
    assert given == [1, 1]


def stops_native_work_on_cancel(compute: Compute, folder: Path) -> None:
    token = CancelToken()
    asked: list[float] = []

    def cancel_once_it_runs() -> None:
        _wait_for_pids(folder)
        asked.append(time.monotonic())
        token.cancel()

    canceller = threading.Thread(target=cancel_once_it_runs)
    canceller.start()
    with pytest.raises(Cancelled):
        list(compute.map(hash_for_an_hour, [(str(folder), 1)], cancel=token))
    canceller.join()
    _check_gone(folder, asked[0])


def stops_native_work_at_the_deadline(compute: Compute, folder: Path) -> None:
    list(compute.map(hash_for_an_hour, [(str(folder), -1)], cancel=CancelToken()))  # a worker is warm now
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        list(compute.map(hash_for_an_hour, [(str(folder), 1)], cancel=CancelToken(time.time() + 4.0)))
    assert _pids(folder), "the work never began"
    _check_gone(folder, begun + 4.0)


def stops_the_work_of_a_reader_that_leaves(compute: Compute, folder: Path) -> None:
    results = compute.map(hash_for_an_hour, [(str(folder), -1), (str(folder), 1)], cancel=CancelToken())
    assert next(results) == b""
    _wait_for_pids(folder)
    left = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    _check_gone(folder, left)


def _pids(folder: Path) -> list[int]:
    return [int(file.name.removeprefix("pid-")) for file in folder.glob("pid-*")]


def _wait_for_pids(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not _pids(folder):
        assert time.monotonic() < deadline, "no worker began"
        time.sleep(0.02)
    time.sleep(0.2)  # into the native code


def _check_gone(folder: Path, since: float) -> None:
    while alive := [pid for pid in _pids(folder) if _is_running(pid)]:
        assert time.monotonic() < since + 10, f"{alive} never stopped"
        time.sleep(0.01)
    took_s = time.monotonic() - since
    assert took_s < STOPS_WITHIN_S, f"the work went on for {took_s:.2f} s"


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


CASES: dict[str, Callable[[Compute, Path], None]] = {
    case.__name__: case
    for case in (
        gives_results_in_the_order_of_items,
        takes_no_more_items_than_it_may_hold,
        tells_how_far_it_is,
        runs_again_what_a_killed_worker_held,
        gives_up_where_workers_keep_dying,
        raises_what_the_function_raised,
        stops_native_work_on_cancel,
        stops_native_work_at_the_deadline,
        stops_the_work_of_a_reader_that_leaves,
    )
}
