"""What every placement of data-parallel work must do, as functions of the placement and an empty folder.

They run where the placement lives: in the test for local processes, inside a Serve replica for Ray.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.cancel import CancelToken
from assay.compute import Compute
from assay.errors import Cancelled, DeadlineExceeded, InvalidInput, Unavailable
from probe import work

STOPS_WITHIN_S = 1.0


def gives_results_in_the_order_of_items(compute: Compute, folder: Path) -> None:
    assert list(compute.map(work.slow_when_early, range(12), cancel=CancelToken())) == list(range(12))
    assert list(compute.map(work.square, [], cancel=CancelToken())) == []


def takes_no_more_items_than_it_may_hold(compute: Compute, folder: Path) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(30):
            taken += 1
            yield number

    for given, result in enumerate(compute.map(work.square, items(), cancel=CancelToken(), max_in_flight=3)):
        assert result == given * given
        assert taken - given <= 3, (taken, given)
    assert taken == 30


def tells_how_far_it_is(compute: Compute, folder: Path) -> None:
    told: list[tuple[int, int, str]] = []

    def progress(done: int, total: int, unit: str = "", **figures: float) -> None:
        told.append((done, total, unit))

    list(compute.map(work.square, [1, 2, 3], cancel=CancelToken(), progress=progress, unit="squares"))
    assert told == [(1, 3, "squares"), (2, 3, "squares"), (3, 3, "squares")], told


def runs_again_what_a_killed_worker_held(compute: Compute, folder: Path) -> None:
    markers = [folder / str(number) for number in range(4)]
    markers[0].touch()
    markers[2].touch()
    results = list(compute.map(work.die_once, map(str, markers), cancel=CancelToken(), max_in_flight=2))
    assert results == ["survived"] * 4, results
    assert all(marker.exists() for marker in markers)  # so two died first


def gives_up_where_workers_keep_dying(compute: Compute, folder: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        list(compute.map(work.die, [1], cancel=CancelToken(), retries=1))
    assert caught.value.reason == "WORKERS_DIED"


def raises_what_the_function_raised(compute: Compute, folder: Path) -> None:
    given: list[int] = []
    with pytest.raises(InvalidInput) as caught:
        given.extend(compute.map(work.refuse, [1, 2, 3], cancel=CancelToken()))
    assert type(caught.value) is InvalidInput
    assert caught.value.violations[0].field == "items[3]"
    assert given == [1, 2]
    with pytest.raises(RuntimeError, match="NeedsTwoArguments: out of cheese"):
        list(compute.map(work.raise_what_cannot_travel, [1], cancel=CancelToken()))


def shares_the_cores_among_its_workers(compute: Compute, folder: Path) -> None:
    assert list(compute.map(work.native_threads, [1], cancel=CancelToken())) == ["1"]


def stops_native_work_on_cancel(compute: Compute, folder: Path) -> None:
    for function in (work.note_and_hash, work.note_and_match):  # without and with the interpreter lock
        own = folder / function.__name__
        own.mkdir()
        token = CancelToken()
        asked: list[float] = []

        def cancel_once_it_runs(own: Path = own, token: CancelToken = token, asked: list[float] = asked) -> None:
            _wait_for_pids(own)
            asked.append(time.monotonic())
            token.cancel()

        canceller = threading.Thread(target=cancel_once_it_runs)
        canceller.start()
        with pytest.raises(Cancelled):
            list(compute.map(function, [str(own)], cancel=token))
        canceller.join()
        _check_gone(own, asked[0])


def stops_native_work_at_the_deadline(compute: Compute, folder: Path) -> None:
    list(compute.map(work.square, [1], cancel=CancelToken()))  # a worker is warm now
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        list(compute.map(work.note_and_hash, [str(folder)], cancel=CancelToken(time.time() + 4.0)))
    assert _pids(folder), "the work never began"
    _check_gone(folder, begun + 4.0)


def stops_the_work_of_a_reader_that_leaves(compute: Compute, folder: Path) -> None:
    results: Any = compute.map(work.hash_unless_told, ["", str(folder)], cancel=CancelToken())
    assert next(results) is None
    _wait_for_pids(folder)
    left = time.monotonic()
    results.close()
    _check_gone(folder, left)


def works_until_it_is_killed(compute: Compute, folder: Path) -> None:
    list(compute.map(work.note_and_hash, [str(folder)], cancel=CancelToken()))


def _pids(folder: Path) -> list[int]:
    return [int(file.name) for file in folder.iterdir()]


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
        shares_the_cores_among_its_workers,
        stops_native_work_on_cancel,
        stops_native_work_at_the_deadline,
        stops_the_work_of_a_reader_that_leaves,
    )
}
