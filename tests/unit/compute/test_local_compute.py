"""Data-parallel work on local processes: order, bounded memory, dying workers, and that stopped work has stopped."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probe import work

from assay.cancel import CancelToken
from assay.compute import LocalCompute
from assay.errors import Cancelled, DeadlineExceeded, InvalidInput, Unavailable

TESTS = Path(__file__).resolve().parents[2]


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody has asked after yet has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between open and read
        return True


def pids_in(folder: Path, count: int) -> list[int]:
    """The processes that noted themselves, once there are `count`."""
    deadline = time.monotonic() + 60
    while len(found := os.listdir(folder)) < count:
        assert time.monotonic() < deadline, "the workers did not start"
        time.sleep(0.01)
    return [int(name) for name in found]


def seconds_until_gone(pids: list[int], since: float) -> float:
    while not all(map(gone, pids)):
        assert time.monotonic() - since < 10, "the workers go on"
        time.sleep(0.01)
    return time.monotonic() - since


def test_results_come_in_the_order_of_their_items() -> None:
    results = LocalCompute(3).map(work.slow_when_early, range(9), cancel=CancelToken())
    assert list(results) == list(range(9))


def test_no_items_give_no_results() -> None:
    assert list(LocalCompute(2).map(work.square, [], cancel=CancelToken())) == []


def test_several_processes_work_and_none_of_them_is_this_one() -> None:
    pids = set(LocalCompute(2).map(work.pid_of, range(12), cancel=CancelToken()))
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_a_source_runs_ahead_by_no_more_than_what_is_in_flight() -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield number

    ahead = []
    for given, _ in enumerate(LocalCompute(2).map(work.square, source(), cancel=CancelToken(), max_in_flight=3)):
        ahead.append(taken - given)
        time.sleep(0.01)  # a slow consumer: results would pile up if nothing held the source
    # Without a bound all 40 would be taken before the first result is given back.
    assert max(ahead) == 3
    assert len(ahead) == 40


def test_progress_counts_what_was_given_back() -> None:
    seen = []

    def progress(done: int, total: int, unit: str = "", **figures: float) -> None:
        seen.append((done, total, unit))

    list(LocalCompute(2).map(work.square, [1, 2, 3], cancel=CancelToken(), progress=progress, unit="shards"))
    assert seen == [(1, 3, "shards"), (2, 3, "shards"), (3, 3, "shards")]


def test_what_the_function_raises_is_raised_here_as_it_is() -> None:
    results = LocalCompute(2).map(work.refuse, range(6), cancel=CancelToken())
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InvalidInput) as caught:
        next(results)
    assert caught.value.violations[0].field == "items[3]"
    assert caught.value.message == "items[3]: is the third; leave it out"


def test_an_exception_that_cannot_travel_is_told_and_taken_for_no_dead_worker() -> None:
    with pytest.raises(RuntimeError, match="NeedsTwoArguments: out of cheese"):
        list(LocalCompute(1).map(work.raise_what_cannot_travel, [1], cancel=CancelToken()))


def test_a_function_that_cannot_be_sent_is_refused_at_once() -> None:
    with pytest.raises((AttributeError, pickle.PicklingError), match=r"(?i)pickle"):
        list(LocalCompute(1).map(lambda number: number, [1], cancel=CancelToken()))


def test_the_item_of_a_killed_worker_is_tried_again(tmp_path: Path) -> None:
    items = [str(tmp_path / name) for name in "abc"]
    # Each item kills the worker it comes to first; the first result may wait for all three deaths.
    assert list(LocalCompute(2).map(work.die_once, items, cancel=CancelToken(), retries=3)) == ["survived"] * 3


def test_a_worker_killed_while_the_consumer_thinks_is_replaced() -> None:
    results = LocalCompute(2).map(work.pid_of, range(12), cancel=CancelToken())
    first = next(results)
    os.kill(first, signal.SIGKILL)
    time.sleep(0.5)  # the pool is known to be broken before the next item is handed to it
    assert len([first, *results]) == 12


def test_workers_that_die_for_ever_are_given_up() -> None:
    with pytest.raises(Unavailable) as caught:
        list(LocalCompute(1).map(work.die, range(3), cancel=CancelToken(), retries=1))
    assert caught.value.reason == "WORKERS_DIED"


def test_workers_share_the_cores_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = os.cpu_count() or 1
    threads = set(LocalCompute(cores).map(work.native_threads, range(2), cancel=CancelToken()))
    assert threads == {"1"}


@pytest.mark.parametrize("task", [work.note_and_sleep, work.note_and_hash, work.note_and_match])
def test_cancelled_work_has_stopped_within_a_second(task: Callable[[str], None], tmp_path: Path) -> None:
    # The last one keeps the interpreter lock: a thread in the worker that watched for the cancel would never run.
    cancel = CancelToken()
    raised = []

    def run() -> None:
        try:
            list(LocalCompute(2).map(task, [str(tmp_path)] * 2, cancel=cancel))
        except Cancelled as error:
            raised.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    pids = pids_in(tmp_path, 2)
    begun = time.monotonic()
    cancel.cancel()
    assert seconds_until_gone(pids, begun) < 1.0
    worker.join()
    assert len(raised) == 1


def test_a_cancel_while_the_workers_start_waits_for_none_of_them(tmp_path: Path) -> None:
    cancel = CancelToken()
    threading.Timer(0.05, cancel.cancel).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        list(LocalCompute(2).map(work.note_and_sleep, [str(tmp_path)] * 2, cancel=cancel))
    assert time.monotonic() - begun < 1.0


def test_a_passed_deadline_stops_the_work(tmp_path: Path) -> None:
    deadline_unix_s = time.time() + 3.0
    with pytest.raises(DeadlineExceeded):
        list(LocalCompute(1).map(work.note_and_sleep, [str(tmp_path)], cancel=CancelToken(deadline_unix_s)))
    late_s = time.time() - deadline_unix_s
    assert seconds_until_gone(pids_in(tmp_path, 1), time.monotonic() - late_s) < 1.0


def test_an_abandoned_map_stops_its_workers(tmp_path: Path) -> None:
    results = LocalCompute(2).map(work.pid_of, range(100), cancel=CancelToken())
    pid = next(results)
    begun = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert seconds_until_gone([pid], begun) < 1.0


@pytest.mark.parametrize("task", ["note_and_sleep", "note_and_match"])
def test_a_killed_parent_leaves_no_workers(task: str, tmp_path: Path) -> None:
    program = (
        "from probe import work; from assay.cancel import CancelToken; from assay.compute import LocalCompute\n"
        f"if __name__ == '__main__': list(LocalCompute(2).map(work.{task}, [{str(tmp_path)!r}] * 2, "
        "cancel=CancelToken()))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(TESTS)})
    pids = pids_in(tmp_path, 2)
    begun = time.monotonic()
    parent.kill()
    parent.wait()
    assert seconds_until_gone(pids, begun) < 1.0
