"""What every object store promises, tried on a local directory and on a real MinIO alike."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.artifacts.objects import ObjectStore, open_object_store
from assay.errors import Aborted, InvalidInput, NotFound, Unavailable

WRITERS = 16
ROUNDS = 60


def race(attempt: Callable[[int, int], bool], before_round: Callable[[int], None]) -> list[int]:
    """How many of 16 threads that start together win, round by round. attempt(round, writer) -> won."""
    gate = threading.Barrier(WRITERS)

    def run(round_: int, writer: int) -> bool:
        gate.wait()
        return attempt(round_, writer)

    winners = []
    with ThreadPoolExecutor(WRITERS) as pool:
        for round_ in range(ROUNDS):
            before_round(round_)
            winners.append(sum(pool.map(run, [round_] * WRITERS, range(WRITERS))))
    return winners


def test_an_object_reads_back_whole_in_ranges_and_as_a_stream(objects: ObjectStore) -> None:
    assert objects.put_if_absent("a/b.bin", b"0123456789")
    assert objects.get("a/b.bin") == b"0123456789"
    assert objects.get("a/b.bin", offset=3, length=4) == b"3456"
    assert objects.get("a/b.bin", offset=8) == b"89"
    assert objects.get("a/b.bin", offset=8, length=100) == b"89"
    assert objects.get("a/b.bin", offset=10) == b""
    assert objects.get("a/b.bin", offset=99) == b""
    assert objects.get("a/b.bin", offset=2, length=0) == b""
    with objects.open("a/b.bin") as stream:
        assert (stream.read(4), stream.read()) == (b"0123", b"456789")


def test_an_empty_object_is_an_object(objects: ObjectStore) -> None:
    assert objects.put_if_absent("empty", b"")
    assert objects.get("empty") == b""
    info = objects.head("empty")
    assert info is not None
    assert info.size_bytes == 0


def test_what_is_not_there_is_not_found(objects: ObjectStore) -> None:
    assert objects.head("nothing") is None
    assert list(objects.list("nothing")) == []
    objects.delete("nothing")
    for read in (objects.get, objects.open, lambda key: objects.get(key, length=0)):
        with pytest.raises(NotFound):
            read("nothing")


def test_head_tells_size_and_time_and_a_version_that_moves_with_every_write(objects: ObjectStore) -> None:
    first = objects.compare_and_swap("k", b"one", None)
    info = objects.head("k")
    assert info is not None
    assert (info.key, info.size_bytes, info.version) == ("k", 3, first)
    second = objects.compare_and_swap("k", b"three", first)
    moved = objects.head("k")
    assert moved is not None
    assert (moved.size_bytes, moved.version) == (5, second)
    assert second not in (first, None)
    assert 0 <= moved.modified_unix_s - info.modified_unix_s < 60


def test_list_is_sorted_by_bytes_and_cuts_prefixes_anywhere(objects: ObjectStore) -> None:
    # "-" < "." < "/" < "0": a folder sorts as its objects do, not as its bare name.
    keys = ["a-b", "a.b", "a/b", "a/b-c", "a/c/d", "a0", "b/é", "b/ü"]
    for key in reversed(keys):
        objects.put_if_absent(key, key.encode())
    assert [info.key for info in objects.list("")] == keys
    assert [info.key for info in objects.list("a/")] == ["a/b", "a/b-c", "a/c/d"]
    assert [info.key for info in objects.list("a/b")] == ["a/b", "a/b-c"]
    assert [info.key for info in objects.list("a/c")] == ["a/c/d"]
    assert [info.size_bytes for info in objects.list("b/")] == [4, 4]


def test_list_goes_beyond_one_page(objects: ObjectStore) -> None:
    keys = [f"many/{number:04}" for number in range(1100)]  # S3 answers 1,000 at a time
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda key: objects.put_if_absent(key, b""), keys))
    assert [info.key for info in objects.list("many/")] == keys


def test_delete_frees_the_key_for_the_next_writer(objects: ObjectStore) -> None:
    objects.put_if_absent("k", b"old")
    objects.delete("k")
    assert objects.head("k") is None
    assert objects.put_if_absent("k", b"new")
    assert objects.get("k") == b"new"


def test_put_if_absent_keeps_what_is_there(objects: ObjectStore) -> None:
    assert objects.put_if_absent("k", b"first")
    assert not objects.put_if_absent("k", b"second")
    assert objects.get("k") == b"first"


def test_put_if_absent_refuses_bytes_with_another_hash(objects: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"changed meanwhile")
    for data in (b"changed meanwhile", source):
        with pytest.raises(Aborted):
            objects.put_if_absent("k", data, sha256=hashlib.sha256(b"as it was").hexdigest())
    assert objects.head("k") is None


def test_compare_and_swap_needs_the_version_that_stands(objects: ObjectStore) -> None:
    assert objects.compare_and_swap("k", b"x", "no such version") is None
    first = objects.compare_and_swap("k", b"one", None)
    assert first is not None
    assert objects.compare_and_swap("k", b"two", None) is None
    second = objects.compare_and_swap("k", b"two", first)
    assert second is not None
    assert objects.compare_and_swap("k", b"three", first) is None
    assert objects.get("k") == b"two"
    objects.delete("k")
    assert objects.compare_and_swap("k", b"four", second) is None
    assert objects.head("k") is None


def test_of_16_threads_that_put_one_key_exactly_one_wins_in_each_of_60_rounds(objects: ObjectStore) -> None:
    # A look followed by a write would let several win whenever they look before the first has written.
    winners = race(
        lambda round_, writer: objects.put_if_absent(f"race/{round_}", f"writer {writer}".encode()), lambda round_: None
    )
    assert winners == [1] * ROUNDS


def test_of_16_threads_that_swap_one_key_exactly_one_wins_in_each_of_60_rounds(objects: ObjectStore) -> None:
    seen: list[str | None] = [None]

    def look(round_: int) -> None:
        info = objects.head("race")
        seen[0] = info.version if info else None

    winners = race(
        lambda round_, writer: (
            objects.compare_and_swap("race", f"round {round_} writer {writer}".encode(), seen[0]) is not None
        ),
        look,
    )
    assert winners == [1] * ROUNDS


def test_a_counter_moved_by_8_threads_loses_no_step(objects: ObjectStore) -> None:
    objects.compare_and_swap("counter", b"0", None)

    def step(writer: int) -> None:
        for _ in range(10):
            while True:
                info = objects.head("counter")
                assert info is not None
                value = int(objects.get("counter"))
                # The value read may be newer than the version; then the swap must lose.
                if objects.compare_and_swap("counter", str(value + 1).encode().zfill(8), info.version):
                    break

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(step, range(8)))
    assert int(objects.get("counter")) == 80


def test_readers_never_see_a_mixture_of_two_writes(objects: ObjectStore) -> None:
    size = 300_000
    version = objects.compare_and_swap("k", b"a" * size, None)
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            data = objects.get("k")
            seen.add(bytes(sorted(set(data))) if len(data) == size else b"half")

    reader = threading.Thread(target=read)
    reader.start()
    for letter in b"bcdefghijklm" * 3:
        version = objects.compare_and_swap("k", bytes([letter]) * size, version)
        assert version is not None
    stop.set()
    reader.join()
    assert all(len(letters) == 1 for letters in seen), seen


def test_a_large_file_is_streamed_in_parts_and_keeps_its_hash(objects: ObjectStore, tmp_path: Path) -> None:
    size = 40 * 2**20 + 7  # three parts of 16 MiB on S3, the last one short
    source = tmp_path / "large"
    source.write_bytes(os.urandom(size))
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    assert objects.put_if_absent("large", source, sha256=sha256)
    assert not objects.put_if_absent("large", source, sha256=sha256)
    with objects.open("large") as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == sha256
    assert objects.get("large", offset=size - 3) == source.read_bytes()[-3:]
    source.write_bytes(b"x" * size)
    with pytest.raises(Aborted):
        objects.put_if_absent("other", source, sha256=sha256)
    assert objects.head("other") is None


def test_of_4_threads_that_put_one_large_file_exactly_one_wins(objects: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(17 * 2**20))
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda _: objects.put_if_absent("large", source), range(4)))
    assert sorted(won) == [False, False, False, True]
    assert [info.size_bytes for info in objects.list("large")] == [17 * 2**20]


@pytest.mark.parametrize(
    "key",
    ["", "/", "/etc/passwd", "a//b", "a/", "..", "a/../b", ".", "a/./b", ".hidden", "a\\b", "a\nb", "a\0b", "a\x7fb",
     "\ud800", "k" * 256, "k/" * 500 + "k"],
    ids=repr,
)  # fmt: skip
def test_bad_keys_are_refused(objects: ObjectStore, key: str) -> None:
    for use in (
        objects.get,
        objects.open,
        objects.head,
        objects.delete,
        lambda key: objects.put_if_absent(key, b""),
        lambda key: objects.compare_and_swap(key, b"", None),
    ):
        with pytest.raises(InvalidInput):
            use(key)


def test_ranges_below_zero_are_refused(objects: ObjectStore) -> None:
    objects.put_if_absent("k", b"0123")
    with pytest.raises(InvalidInput, match="offset"):
        objects.get("k", offset=-1)
    with pytest.raises(InvalidInput, match="length"):
        objects.get("k", length=-1)


def test_a_source_that_cannot_be_read_is_refused(objects: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        objects.put_if_absent("k", tmp_path / "missing")
    assert objects.head("k") is None


def test_check_passes_and_leaves_nothing_behind(objects: ObjectStore) -> None:
    objects.check()
    assert list(objects.list("")) == []


def test_of_16_processes_that_write_one_key_exactly_one_wins_in_each_of_60_rounds(store_url: str) -> None:
    program = Path(__file__).with_name("race_of_processes.py")
    run = subprocess.run(
        [sys.executable, program, store_url, str(ROUNDS)], check=True, capture_output=True, text=True, timeout=120
    )
    winners = json.loads(run.stdout)
    assert winners["put"] == [1] * ROUNDS
    assert winners["swapped"] == [1] * ROUNDS


def test_a_directory_that_is_gone_is_unavailable_and_not_empty(tmp_path: Path) -> None:
    store = open_object_store((tmp_path / "store").as_uri())
    store.put_if_absent("a/b", b"1")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    for ask in (lambda: store.get("a/b"), lambda: store.head("a/b"), lambda: list(store.list("a/"))):
        with pytest.raises(Unavailable, match="is gone"):
            ask()
    with pytest.raises(Unavailable):
        store.put_if_absent("a/c", b"2")
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    assert store.get("a/b") == b"1"
