"""Artifacts: immutable trees of files in an object store, named by the hash of their manifest.

    blobs/<sha256>           the files' contents
    artifacts/<hex>.json     canonical manifests; the SHA-256 of the bytes is <hex>
    labels/<name>            named references, moved by compare-and-swap ("/" in a name is stored as ":")

Content needs no lock: it is put if absent and verified on read.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import logging
import os
import re
import stat
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import platformdirs

from assay.artifacts.cache import TreeCache
from assay.artifacts.intents import intent
from assay.artifacts.local import LocalObjectStore
from assay.artifacts.manifest import (
    JSON,
    Artifact,
    File,
    Manifest,
    check_digest,
    digest_of,
)
from assay.artifacts.objects import ObjectStore, check_key, check_range
from assay.errors import Aborted, DataLoss, FailedPrecondition, InvalidInput, NotFound, OutOfRange
from assay.progress import Progress, silent

if TYPE_CHECKING:
    from assay.artifacts.gc import GarbageReport

BLOBS = "blobs/"
ARTIFACTS = "artifacts/"
LABELS = "labels/"
COPY_BYTES = 2**20
SPOOL_BYTES = 8 * 2**20
MAX_LABEL_LENGTH = 200

_LABEL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Label:
    """A name that points at an artifact; `version` is opaque and changes whenever the label moves."""

    name: str
    digest: str
    version: str


class ArtifactStore:
    """Artifacts in `objects`, with a local cache of whole trees of about `cache_bytes`.

    cache_dir: by default below the store itself where that is a directory, else the user's cache folder.
    Every method may raise what the object store raises, and DataLoss where stored bytes do not match their hash.
    """

    def __init__(self, objects: ObjectStore, *, cache_dir: Path | None = None, cache_bytes: int = 20 * 2**30) -> None:
        self.objects = objects
        self._cache = TreeCache(cache_dir or _default_cache_dir(objects), cache_bytes)

    def put(
        self,
        kind: str,
        files: Path | Mapping[str, Path | bytes],
        *,
        inputs: Sequence[str] = (),
        parameters: Mapping[str, JSON] | None = None,
        versions: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> str:
        """Stores a tree and returns its digest; storing the same again changes nothing.

        files: a directory (all regular files below it), a single file, or contents by path in the tree.
        Symbolic links are refused. inputs: digests of stored artifacts this one was made from; NotFound.
        Aborted where a file changes meanwhile.
        """
        sources = _sources(files)
        hashed = []
        for done, (path, source) in enumerate(sources.items()):
            progress(done, len(sources), "files hashed")
            hashed.append(hash_source(path, source))
        manifest = Manifest(kind, tuple(hashed), tuple(inputs), parameters or {}, versions or {})
        blobs = {file.sha256: (file, sources[file.path]) for file in hashed}
        with intent(self.objects, artifacts=manifest.inputs, blobs=list(blobs)) as declared:
            while True:
                existed = bool(manifest.inputs)
                for done, (file, source) in enumerate(blobs.values()):
                    progress(done, len(blobs), "files stored")
                    existed |= not self._put_blob(file, source)
                progress(len(blobs), len(blobs), "files stored")
                self._check_inputs(manifest)
                existed |= not self._put_manifest(manifest)
                if declared.settled(relied_on_existing=existed):
                    return manifest.digest

    def put_blob(self, sha256: str, content: Path) -> bool:
        """Stores one file's content for a later `create`; False where it was there already."""
        return self.objects.put_if_absent(BLOBS + sha256, content, sha256=sha256)

    def has_blob(self, sha256: str) -> bool:
        return self.objects.head(BLOBS + sha256) is not None

    def create(self, manifest: Manifest) -> bool:
        """Makes an artifact of blobs that are stored already; False where it was there already.

        FailedPrecondition names a blob that is missing or has another size; NotFound an input.
        """
        blobs = {file.sha256: file for file in manifest.files}
        with intent(self.objects, artifacts=manifest.inputs, blobs=list(blobs)) as declared:
            while True:
                for file in blobs.values():
                    info = self.objects.head(BLOBS + file.sha256)
                    if info is None or info.size_bytes != file.size_bytes:
                        raise FailedPrecondition(
                            f"{file.path}: no blob {file.sha256} of {file.size_bytes} bytes is stored; upload it first",
                            reason="BLOB_MISSING",
                        )
                self._check_inputs(manifest)
                created = self._put_manifest(manifest)
                if declared.settled(relied_on_existing=True):
                    return created

    def resolve(self, reference: str) -> str:
        """The digest that a digest, a unique prefix of 8 hex digits or more, or a label stands for. NotFound."""
        if not reference:
            raise InvalidInput("reference", "is empty; give a digest, a prefix of one, or a label")
        matched = _PREFIX.fullmatch(reference)
        if matched is None:
            found = self.label(reference)
            if found is None:
                raise NotFound(f"there is no label {reference}; `assay artifacts ls` shows what there is")
            return found.digest
        keys = [info.key for info in self.objects.list(ARTIFACTS + matched[1])]
        if not keys:
            raise NotFound(f"there is no artifact {reference}; `assay artifacts ls` shows what there is")
        if len(keys) > 1:
            raise InvalidInput("reference", f"fits {len(keys)} artifacts; give more digits")
        return digest_of_key(keys[0])

    def manifest(self, reference: str) -> Manifest:
        """What the artifact is, its bytes verified. NotFound, DataLoss."""
        return self.get(reference).manifest

    def get(self, reference: str) -> Artifact:
        """The artifact's digest and manifest. NotFound, DataLoss."""
        digest = self.resolve(reference)
        data = self.objects.get(_manifest_key(digest))
        if digest_of(data) != digest:
            raise DataLoss(f"artifact {digest}: its stored manifest does not match its hash; restore it from a backup")
        try:
            return Artifact(digest, Manifest.from_bytes(data))
        except ValueError as error:
            raise DataLoss(f"artifact {digest}: its manifest cannot be read by this version; upgrade assay") from error

    def path(self, reference: str) -> Path:
        """A local directory that holds the verified tree; its files are read-only and shared, so never write there."""
        artifact = self.get(reference)
        name = artifact.digest.removeprefix("sha256:")
        return self._cache.get(name, artifact.size_bytes, lambda folder: self._materialise(artifact, folder))

    def read(self, reference: str, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of one file, verified where the whole file is read. InvalidInput, OutOfRange beyond its end."""
        check_range(offset, length)
        artifact = self.get(reference)
        file = artifact.manifest.file(path)
        if offset > file.size_bytes:
            raise OutOfRange(f"offset: is {offset}, beyond the {file.size_bytes} bytes of {path}; start earlier")
        wanted = min(file.size_bytes - offset, file.size_bytes if length is None else length)
        cached = self._cache.find(artifact.digest.removeprefix("sha256:"))
        if cached is not None:
            with (cached / path).open("rb") as stream:
                stream.seek(offset)
                return stream.read(wanted)
        data = self._blob_bytes(artifact, file, offset, wanted)
        if len(data) != wanted or (wanted == file.size_bytes and hashlib.sha256(data).hexdigest() != file.sha256):
            raise _damaged(artifact.digest, file)
        return data

    def open(self, reference: str, path: str) -> BinaryIO:
        """One whole file, verified before the first byte is handed out; seekable. The caller closes it."""
        artifact = self.get(reference)
        file = artifact.manifest.file(path)
        cached = self._cache.find(artifact.digest.removeprefix("sha256:"))
        if cached is not None:
            return (cached / path).open("rb")
        stream = self._blob_stream(artifact, file)
        if isinstance(self.objects, LocalObjectStore):
            if _hash_stream(stream, io.BytesIO(), keep=False) != (file.sha256, file.size_bytes):
                stream.close()
                raise _damaged(artifact.digest, file)
            stream.seek(0)
            return stream
        spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115
        with stream:
            if _hash_stream(stream, spool) != (file.sha256, file.size_bytes):
                spool.close()
                raise _damaged(artifact.digest, file)
        spool.seek(0)
        return spool

    def list(self, kind: str | None = None, *, after: str | None = None) -> Iterator[Artifact]:
        """All artifacts (of one kind) by digest, from the one that follows `after` on. Damaged ones are logged."""
        for info in self.objects.list(ARTIFACTS):
            digest = digest_of_key(info.key)
            if after is not None and digest <= after:
                continue
            try:
                artifact = self.get(digest)
            except NotFound:
                continue  # collected since it was listed
            except DataLoss:
                log.warning("artifact %s is damaged and left out of the list", digest)
                continue
            if kind is None or artifact.manifest.kind == kind:
                yield artifact

    def lineage(self, reference: str) -> builtins.list[Artifact]:
        """The artifact and all it was made from, transitively: inputs before what was made from them."""
        ordered: dict[str, Artifact] = {}
        stack = [(self.get(reference), False)]
        while stack:
            artifact, inputs_done = stack.pop()
            if artifact.digest in ordered:
                continue
            if inputs_done:
                ordered[artifact.digest] = artifact
                continue
            stack.append((artifact, True))
            stack.extend((self.get(i), False) for i in reversed(artifact.manifest.inputs) if i not in ordered)
        return list(ordered.values())

    def label(self, name: str) -> Label | None:
        """Where a label points; None where there is none."""
        key = label_key(name)
        # Between the two reads the label may move: then the version is not the content's, and is read again.
        while (before := self.objects.head(key)) is not None:
            with suppress(NotFound):
                data = self.objects.get(key)
                after = self.objects.head(key)
                if after is not None and after.version == before.version:
                    return Label(name, _label_digest(name, data), before.version)
        return None

    def labels(self) -> Iterator[Label]:
        """All labels, sorted by name as stored."""
        for info in self.objects.list(LABELS):
            found = self.label(info.key.removeprefix(LABELS).replace(":", "/"))
            if found is not None:
                yield found

    def set_label(self, name: str, digest: str, expected_version: str | None) -> str:
        """Points `name` at a stored artifact if the label still has `expected_version` (None: does not exist yet).

        Returns the new version. NotFound for the artifact, Aborted where the label moved.
        """
        key = label_key(name)
        check_digest(digest, "digest")
        with intent(self.objects, artifacts=[digest]) as declared:
            while True:
                self._check_stored(digest, "digest")
                if declared.settled(relied_on_existing=True):
                    break
            # The revision keeps versions unique when a label returns to where it pointed before.
            content = json.dumps({"digest": digest, "revision": uuid.uuid4().hex}).encode()
            version = self.objects.compare_and_swap(key, content, expected_version)
        if version is None:
            raise Aborted(f"label {name} has moved meanwhile; read it again and decide anew")
        return version

    def collect_garbage(self, *, grace_s: float, dry_run: bool = False) -> GarbageReport:
        """Deletes what nothing refers to and is older than `grace_s`; see `assay.artifacts.gc`."""
        from assay.artifacts.gc import collect_garbage

        return collect_garbage(self, grace_s=grace_s, dry_run=dry_run)

    def close(self) -> None:
        """Lets go of cached trees: what `path` returned may vanish from then on."""
        self._cache.close()

    def _put_blob(self, file: File, source: Path | bytes) -> bool:
        return self.objects.put_if_absent(BLOBS + file.sha256, source, sha256=file.sha256)

    def _put_manifest(self, manifest: Manifest) -> bool:
        return self.objects.put_if_absent(_manifest_key(manifest.digest), manifest.to_bytes())

    def _check_inputs(self, manifest: Manifest) -> None:
        for index, digest in enumerate(manifest.inputs):
            self._check_stored(digest, f"inputs[{index}]")

    def _check_stored(self, digest: str, field: str) -> None:
        if self.objects.head(_manifest_key(digest)) is None:
            raise NotFound(f"{field}: there is no artifact {digest}; put it first")

    def _blob_bytes(self, artifact: Artifact, file: File, offset: int, length: int) -> bytes:
        try:
            return self.objects.get(BLOBS + file.sha256, offset=offset, length=length)
        except NotFound:
            raise _damaged(artifact.digest, file) from None

    def _blob_stream(self, artifact: Artifact, file: File) -> BinaryIO:
        try:
            return self.objects.open(BLOBS + file.sha256)
        except NotFound:
            raise _damaged(artifact.digest, file) from None

    def _materialise(self, artifact: Artifact, folder: Path) -> None:
        """Writes the verified tree below `folder`, synced, so that a crash leaves no hole in it."""
        for file in artifact.manifest.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._blob_stream(artifact, file) as source:
                if self._linked(file, target):
                    intact = _hash_stream(source, io.BytesIO(), keep=False) == (file.sha256, file.size_bytes)
                else:
                    with target.open("xb") as copy:
                        intact = _hash_stream(source, copy) == (file.sha256, file.size_bytes)
                        copy.flush()
                        os.fchmod(copy.fileno(), 0o444)
                        os.fsync(copy.fileno())
            if not intact:
                raise _damaged(artifact.digest, file)

    def _linked(self, file: File, target: Path) -> bool:
        """Gives a blob of a local store a second name instead of a second copy, where the file system can."""
        if not isinstance(self.objects, LocalObjectStore):
            return False
        try:
            os.link(self.objects.file(BLOBS + file.sha256), target)
        except OSError:
            return False
        return True


def label_key(name: str) -> str:
    """The key of a label. A flat one, because no key may be a folder of another."""
    if len(name) > MAX_LABEL_LENGTH or not _LABEL.fullmatch(name):
        raise InvalidInput(
            "label", f"is no label; use letters, digits, '.', '_', '-' and '/' between, {MAX_LABEL_LENGTH} at most"
        )
    if _PREFIX.fullmatch(name):
        raise InvalidInput("label", "reads as a digest; use a name with another letter in it")
    return check_key(LABELS + name.replace("/", ":"), "label")


def hash_source(path: str, source: Path | bytes) -> File:
    """The member that `source` becomes at `path`."""
    if isinstance(source, bytes):
        return File(path, len(source), hashlib.sha256(source).hexdigest())
    with _open_regular(path, source) as stream:
        sha256, size = _hash_stream(stream, io.BytesIO(), keep=False)
    return File(path, size, sha256)


def _sources(files: Path | Mapping[str, Path | bytes]) -> dict[str, Path | bytes]:
    """Where each member's bytes come from; InvalidInput for anything but regular files."""
    if isinstance(files, Path):
        return dict(tree_files(files))
    return dict(files)


def tree_files(root: Path) -> dict[str, Path]:
    """The regular files below a directory by their path in the tree (or a single file under its name).

    Raises InvalidInput for a missing root and for members that are symbolic links, sockets or devices.
    """
    if root.is_file():
        return {root.name: root}
    if not root.is_dir():
        raise InvalidInput("files", f"{root} is neither a file nor a directory; check the path")
    found: dict[str, Path] = {}
    folders = [root]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                member = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(member)
                else:
                    found[member.relative_to(root).as_posix()] = member
    return dict(sorted(found.items()))


def _open_regular(path: str, source: Path) -> BinaryIO:
    try:
        # Non-blocking, or a pipe would wait for its writer before it could be refused.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if source.is_symlink():
            raise InvalidInput(
                f"files[{path}]",
                "is a symbolic link; copy the tree with `cp -rL`, which follows them",
            ) from None
        raise InvalidInput(f"files[{path}]", "cannot be read; check that it exists and its permissions") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInput(f"files[{path}]", "is no regular file; leave it out")
    return os.fdopen(descriptor, "rb")


def _hash_stream(source: BinaryIO, copy: BinaryIO, *, keep: bool = True) -> tuple[str, int]:
    """SHA-256 and size of what `source` still holds, which is written to `copy` on the way."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(COPY_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if keep:
            copy.write(chunk)
    return digest.hexdigest(), size


def _default_cache_dir(objects: ObjectStore) -> Path:
    if isinstance(objects, LocalObjectStore):
        return objects.root / "cache"
    return Path(platformdirs.user_cache_dir("assay")) / "artifacts"


def _manifest_key(digest: str) -> str:
    return f"{ARTIFACTS}{digest.removeprefix('sha256:')}.json"


def digest_of_key(key: str) -> str:
    return f"sha256:{key.removeprefix(ARTIFACTS).removesuffix('.json')}"


def _label_digest(name: str, data: bytes) -> str:
    try:
        return check_digest(json.loads(data)["digest"], "digest")
    except (ValueError, KeyError, TypeError, InvalidInput) as error:
        raise DataLoss(f"label {name} is damaged; set it anew") from error


def _damaged(digest: str, file: File) -> DataLoss:
    return DataLoss(
        f"artifact {digest}, file {file.path}: what is stored is missing or does not match its hash; delete the blob "
        f"{file.sha256} from the store and put the artifact again, or restore the store from a backup",
        metadata={"artifact": digest, "blob": file.sha256},
    )
