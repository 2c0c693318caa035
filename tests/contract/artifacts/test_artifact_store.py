"""What the artifact store promises over a directory and over a real MinIO: content, names, lineage, damage."""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.artifacts.objects import ObjectStore
from assay.artifacts.store import ArtifactStore
from assay.errors import Aborted, AssayError, DataLoss, InvalidInput, NotFound, OutOfRange

HUNDRED = bytes(range(100))
ABSENT = "sha256:" + "0" * 64


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_digest_is_the_hash_of_the_canonical_manifest(artifacts: ArtifactStore) -> None:
    digest = artifacts.put("text", {"b": b"2", "a": b""}, parameters={"n": 2.0, "é": [True, None]})
    # Written by hand: sorted keys and files, no spaces, 2.0 as 2, UTF-8 as it is.
    canonical = (
        f'{{"files":[{{"path":"a","sha256":"{sha256(b"")}","size_bytes":0}},'
        f'{{"path":"b","sha256":"{sha256(b"2")}","size_bytes":1}}],"inputs":[],"kind":"text",'
        '"parameters":{"n":2,"é":[true,null]},"schema_version":1,"versions":{}}'
    )
    assert digest == f"sha256:{sha256(canonical.encode())}"


def test_a_tree_comes_back_as_it_went_in(artifacts: ArtifactStore, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "config.json").write_bytes(b"{}")
    (tree / "deep/er/weights").write_bytes(os.urandom(100_000))
    (tree / ".hidden").write_bytes(b"")
    digest = artifacts.put("model", tree, versions={"assay": "1"})
    copy = artifacts.path(digest)
    assert files_below(copy) == files_below(tree)
    assert artifacts.path(digest) == copy
    assert stat.S_IMODE((copy / "config.json").stat().st_mode) == 0o444
    assert (
        artifacts.read(digest, "deep/er/weights", offset=99_990, length=100)
        == ((tree / "deep/er/weights").read_bytes()[99_990:])
    )
    manifest = artifacts.manifest(digest)
    assert [file.path for file in manifest.files] == [".hidden", "config.json", "deep/er/weights"]
    assert (manifest.kind, manifest.size_bytes, manifest.versions) == ("model", 100_002, {"assay": "1"})


def test_putting_twice_changes_nothing_and_equal_files_are_stored_once(
    artifacts: ArtifactStore, objects: ObjectStore
) -> None:
    first = artifacts.put("text", {"a": HUNDRED, "b": HUNDRED})
    stored = list(objects.list(""))
    assert artifacts.put("text", {"b": HUNDRED, "a": HUNDRED}) == first
    assert list(objects.list("")) == stored
    assert len([info for info in stored if info.key.startswith("blobs/")]) == 1
    assert artifacts.put("model", {"a": HUNDRED, "b": HUNDRED}) != first


def test_16_threads_that_put_one_tree_agree_on_it(artifacts: ArtifactStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        digests = set(pool.map(lambda _: artifacts.put("text", {"a": HUNDRED, "b": b"b"}), range(16)))
        paths = set(pool.map(artifacts.path, list(digests) * 16))
    assert len(digests) == len(paths) == 1


def test_references_are_digests_prefixes_and_labels(artifacts: ArtifactStore) -> None:
    digest = artifacts.put("text", {"a": HUNDRED})
    artifacts.set_label("team/current", digest, None)
    hexadecimal = digest.removeprefix("sha256:")
    for reference in (digest, hexadecimal, hexadecimal[:8], digest[: len("sha256:") + 8], "team/current"):
        assert artifacts.resolve(reference) == digest
    for absent in (ABSENT, "0" * 8, "no-such-label"):
        with pytest.raises(NotFound):
            artifacts.resolve(absent)
    for bad in ("", "a b", "../x", "sha256:xyz", "/abs"):
        with pytest.raises(InvalidInput):
            artifacts.resolve(bad)


def test_an_ambiguous_prefix_is_refused(artifacts: ArtifactStore, objects: ObjectStore) -> None:
    for rest in ("0", "1"):
        objects.put_if_absent(f"artifacts/{'ab' * 31}a{rest}.json", b"{}")
    with pytest.raises(InvalidInput, match="fits 2 artifacts"):
        artifacts.resolve("ab" * 8)


@pytest.mark.parametrize(
    "path", ["../up", "a/../../up", "/etc/passwd", "a//b", "./a", "a\\b", "a\nb", "c:d", "", "x" * 256]
)
def test_members_that_lead_out_of_the_tree_are_refused(
    artifacts: ArtifactStore, objects: ObjectStore, path: str
) -> None:
    with pytest.raises(InvalidInput, match="files"):
        artifacts.put("text", {"fine": b"", path: b"evil"})
    assert list(objects.list("")) == []


def test_links_pipes_and_absent_files_are_refused(artifacts: ArtifactStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    makers: list[Callable[[Path], None]] = [
        lambda member: member.symlink_to(secret),
        lambda member: member.symlink_to(tmp_path),
        lambda member: member.symlink_to("dangling"),
        os.mkfifo,
    ]
    for number, make in enumerate(makers):
        tree = tmp_path / f"tree{number}"
        tree.mkdir()
        make(tree / "member")
        with pytest.raises(InvalidInput, match=r"files\[member\]"):
            artifacts.put("text", tree)
    for source in (tmp_path / "absent", tmp_path / "tree0" / "member" / "x"):
        with pytest.raises(InvalidInput):
            artifacts.put("text", source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="at least one file"):
        artifacts.put("text", tmp_path / "empty")


def test_names_that_one_file_system_would_merge_are_refused(artifacts: ArtifactStore) -> None:
    for clash in (["a", "A"], ["dir/x", "Dir/y"], ["a", "a/b"], ["caf\u00e9", "cafe\u0301"]):
        with pytest.raises(InvalidInput):
            artifacts.put("text", dict.fromkeys(clash, b""))


def test_parameters_that_json_or_a_double_cannot_hold_are_refused(artifacts: ArtifactStore) -> None:
    for value in (math.nan, math.inf, 2**53 + 1, {1: "x"}, b"bytes", "\ud800"):
        with pytest.raises(InvalidInput, match=r"parameters\.x"):
            artifacts.put("text", {"a": b""}, parameters={"x": value})  # type: ignore[dict-item]


def test_inputs_must_be_stored(artifacts: ArtifactStore) -> None:
    with pytest.raises(NotFound, match=r"inputs\[0\]"):
        artifacts.put("text", {"a": b""}, inputs=[ABSENT])
    with pytest.raises(InvalidInput, match=r"inputs\[0\]"):
        artifacts.put("text", {"a": b""}, inputs=["label"])


def test_ranges_beyond_the_end_and_unknown_files_are_errors(artifacts: ArtifactStore) -> None:
    digest = artifacts.put("text", {"a": HUNDRED})
    assert artifacts.read(digest, "a", offset=100) == b""
    with pytest.raises(OutOfRange):
        artifacts.read(digest, "a", offset=101)
    with pytest.raises(InvalidInput, match="no file of this artifact"):
        artifacts.read(digest, "b")
    with pytest.raises(NotFound):
        artifacts.read(ABSENT, "a")


@pytest.mark.parametrize("damage", [HUNDRED[:-1], HUNDRED[:-1] + b"!", b""], ids=["cut", "flipped", "emptied"])
def test_a_damaged_blob_is_data_loss_and_reaches_nobody(
    artifacts: ArtifactStore, overwrite_blob: Callable[[str, bytes], None], damage: bytes
) -> None:
    digest = artifacts.put("text", {"a": HUNDRED, "b": b"fine"})
    overwrite_blob(sha256(HUNDRED), damage)
    uses: list[Callable[[], object]] = [
        lambda: artifacts.path(digest),
        lambda: artifacts.read(digest, "a"),
        lambda: artifacts.open(digest, "a"),
    ]
    for use in uses:
        with pytest.raises(DataLoss) as raised:
            use()
        assert raised.value.metadata == {"artifact": digest, "blob": sha256(HUNDRED)}
    assert artifacts.read(digest, "b") == b"fine"


def test_a_damaged_or_missing_part_is_data_loss(
    artifacts: ArtifactStore, objects: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    digest = artifacts.put("text", {"a": HUNDRED})
    objects.delete(f"blobs/{sha256(HUNDRED)}")
    for use in (artifacts.path, lambda reference: artifacts.read(reference, "a")):
        with pytest.raises(DataLoss):
            use(digest)
    key = f"artifacts/{digest.removeprefix('sha256:')}.json"
    manifest = objects.get(key)
    objects.delete(key)
    objects.put_if_absent(key, manifest.replace(b'"text"', b'"txet"'))
    with pytest.raises(DataLoss):
        artifacts.manifest(digest)
    assert list(artifacts.list()) == []
    assert "damaged" in caplog.text


def test_a_damaged_blob_heals_when_it_is_deleted_and_put_again(
    artifacts: ArtifactStore, objects: ObjectStore, overwrite_blob: Callable[[str, bytes], None]
) -> None:
    digest = artifacts.put("text", {"a": HUNDRED})
    overwrite_blob(sha256(HUNDRED), b"damage")
    objects.delete(f"blobs/{sha256(HUNDRED)}")
    assert artifacts.put("text", {"a": HUNDRED}) == digest
    assert artifacts.read(digest, "a") == HUNDRED


def test_a_label_moves_by_compare_and_swap(artifacts: ArtifactStore) -> None:
    one, two = artifacts.put("text", {"a": b"1"}), artifacts.put("text", {"a": b"2"})
    assert artifacts.label("current") is None
    first = artifacts.set_label("current", one, None)
    with pytest.raises(Aborted):
        artifacts.set_label("current", two, None)
    second = artifacts.set_label("current", two, first)
    # Back to where it was: a version made of the content alone would come back too.
    third = artifacts.set_label("current", one, second)
    assert len({first, second, third}) == 3
    with pytest.raises(Aborted):
        artifacts.set_label("current", two, first)
    found = artifacts.label("current")
    assert found is not None
    assert (found.digest, found.version) == (one, third)
    with pytest.raises(NotFound):
        artifacts.set_label("current", ABSENT, third)


def test_of_16_threads_that_move_a_label_one_wins_and_the_rest_are_told(artifacts: ArtifactStore) -> None:
    digests = [artifacts.put("text", {"a": str(number).encode()}) for number in range(16)]
    version = artifacts.set_label("current", digests[0], None)

    def move(digest: str) -> str:
        try:
            artifacts.set_label("current", digest, version)
        except Aborted:
            return ""
        return digest

    with ThreadPoolExecutor(16) as pool:
        winners = [digest for digest in pool.map(move, digests) if digest]
    label = artifacts.label("current")
    assert label is not None
    assert winners == [label.digest]


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a/", ".a", "a b", "é", "a:b", "deadbeef", "x" * 201])
def test_bad_labels_are_refused(artifacts: ArtifactStore, name: str) -> None:
    digest = artifacts.put("text", {"a": b""})
    with pytest.raises(InvalidInput, match="label"):
        artifacts.set_label(name, digest, None)


def test_a_label_may_be_a_folder_of_another(artifacts: ArtifactStore) -> None:
    digest = artifacts.put("text", {"a": b""})
    for name in ("plan", "plan/v1", "plan/v1/final"):
        artifacts.set_label(name, digest, None)
    assert [label.name for label in artifacts.labels()] == ["plan", "plan/v1", "plan/v1/final"]


def test_lineage_lists_inputs_before_what_was_made_from_them(artifacts: ArtifactStore) -> None:
    root = artifacts.put("model", {"a": b"root"})
    left = artifacts.put("text", {"a": b"left"}, inputs=[root])
    right = artifacts.put("text", {"a": b"right"}, inputs=[root])
    end = artifacts.put("report", {"a": b"end"}, inputs=[right, left, right])
    assert artifacts.manifest(end).inputs == tuple(sorted([left, right]))
    lineage = [artifact.digest for artifact in artifacts.lineage(end)]
    assert lineage == [root, *sorted([left, right]), end]
    assert [artifact.digest for artifact in artifacts.lineage(root)] == [root]


def test_list_filters_by_kind_and_goes_on_after_a_digest(artifacts: ArtifactStore) -> None:
    digests = sorted(artifacts.put("text", {"a": str(number).encode()}) for number in range(5))
    model = artifacts.put("model", {"a": b"m"})
    assert [artifact.digest for artifact in artifacts.list("text")] == digests
    assert [artifact.digest for artifact in artifacts.list("text", after=digests[2])] == digests[3:]
    assert [artifact.digest for artifact in artifacts.list()] == sorted([*digests, model])


def test_the_cache_stays_within_its_bound_and_drops_what_was_unused_longest(
    objects: ObjectStore, tmp_path: Path
) -> None:
    writer = ArtifactStore(objects, cache_dir=tmp_path / "writer")
    digests = [writer.put("model", {"w": bytes([number]) * 1000}) for number in range(6)]
    for digest in digests:
        # A process that ends lets go of what it used; each store here plays one.
        reader = ArtifactStore(objects, cache_dir=tmp_path / "cache", cache_bytes=3000)
        reader.path(digest)
        reader.close()
    cached = {folder.name for folder in (tmp_path / "cache/trees").iterdir()}
    assert cached == {digest.removeprefix("sha256:") for digest in digests[-3:]}


def test_the_cache_never_takes_a_tree_away_from_its_user(objects: ObjectStore, tmp_path: Path) -> None:
    store = ArtifactStore(objects, cache_dir=tmp_path / "cache", cache_bytes=1000)
    other = ArtifactStore(objects, cache_dir=tmp_path / "cache", cache_bytes=1000)
    digests = [store.put("model", {"w": bytes([number]) * 900}) for number in range(3)]
    in_use = store.path(digests[0])
    other.path(digests[1])
    assert files_below(in_use) == {"w": bytes([0]) * 900}
    store.close()
    other.path(digests[2])
    assert not in_use.exists()


def test_error_messages_name_no_path_of_this_machine(artifacts: ArtifactStore, tmp_path: Path) -> None:
    digest = artifacts.put("text", {"a": HUNDRED})
    failures: list[Callable[[], object]] = [
        lambda: artifacts.read(ABSENT, "a"),
        lambda: artifacts.read(digest, "b"),
        lambda: artifacts.objects.get("blobs/none"),
        lambda: artifacts.set_label("x", ABSENT, None),
        lambda: artifacts.put("text", {"../up": b""}),
    ]
    for failure in failures:
        with pytest.raises(AssayError) as raised:
            failure()
        assert str(tmp_path) not in raised.value.message
        assert "127.0.0.1" not in raised.value.message
