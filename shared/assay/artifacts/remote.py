"""Artifacts of a service reached over gRPC: the client's side of ArtifactService."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from assay.artifacts.manifest import JSON, Artifact, File, Manifest
from assay.artifacts.messages import artifact_from_proto, manifest_to_proto
from assay.artifacts.store import Label, hash_source, tree_files
from assay.artifacts.v1 import artifacts_pb2, artifacts_pb2_grpc
from assay.client.errors import error_from_rpc
from assay.errors import AlreadyExists, DataLoss, FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted
from assay.progress import Progress, silent

CHUNK_BYTES = 2**20
FIND_AT_ONCE = 1000
PUT_ATTEMPTS = 5
CALL_TIMEOUT_S = 120.0
STREAM_TIMEOUT_S = 3600.0


class RemoteArtifacts:
    """The same words as `assay.artifacts.store.ArtifactStore`, over a synchronous channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = artifacts_pb2_grpc.ArtifactServiceStub(channel)

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
        """Uploads what the service does not hold yet and returns the artifact's digest.

        files and errors: as ArtifactStore.put. Repeated after a failure it goes on where it ended.
        """
        sources: Mapping[str, Path | bytes] = tree_files(files) if isinstance(files, Path) else files
        hashed = [hash_source(path, source) for path, source in sources.items()]
        manifest = Manifest(kind, tuple(hashed), tuple(inputs), parameters or {}, versions or {})
        request = artifacts_pb2.CreateArtifactRequest(manifest=manifest_to_proto(manifest))
        attempt = 1
        while True:
            self._upload_missing(hashed, sources, progress)
            try:
                digest: str = self._call(self._stub.CreateArtifact, request).artifact.digest
                return digest
            except FailedPrecondition as error:
                # Garbage collection took a blob that no artifact needed yet.
                if error.reason != "BLOB_MISSING" or attempt == PUT_ATTEMPTS:
                    raise
            attempt += 1

    def get(self, reference: str) -> Artifact:
        """What the artifact is. NotFound, DataLoss."""
        request = artifacts_pb2.GetArtifactRequest(reference=reference)
        return artifact_from_proto(self._call(self._stub.GetArtifact, request).artifact)

    def manifest(self, reference: str) -> Manifest:
        """The artifact's kind, files, inputs and parameters."""
        return self.get(reference).manifest

    def resolve(self, reference: str) -> str:
        """The digest that a digest, a unique prefix of one or a label stands for."""
        return self.get(reference).digest

    def read(self, reference: str, path: str) -> bytes:
        """One whole file, verified. InvalidInput where the artifact has no such file."""
        artifact = self.get(reference)
        return b"".join(self._chunks(artifact.digest, artifact.manifest.file(path)))

    def download(self, reference: str, destination: Path, *, progress: Progress = silent) -> Path:
        """Writes the tree to `destination`, whole or not at all.

        AlreadyExists where something is there, ResourceExhausted or PermissionDenied where it cannot be written.
        """
        artifact = self.get(reference)
        with _disk_errors():
            destination = destination.resolve()
            if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
                raise AlreadyExists(f"{destination} is there already; name a new directory")
            destination.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
            try:
                self._write_tree(artifact, staging, progress)
                staging.chmod(0o755)
                os.replace(staging, destination)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
        return destination

    def list(self, kind: str | None = None) -> Iterator[Artifact]:
        """All artifacts (of one kind) by digest, fetched page by page."""
        request = artifacts_pb2.ListArtifactsRequest(kind=kind or "")
        while True:
            page = self._call(self._stub.ListArtifacts, request)
            yield from map(artifact_from_proto, page.artifacts)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def lineage(self, reference: str) -> Sequence[Artifact]:
        """The artifact and all it was made from: inputs before what was made from them."""
        request = artifacts_pb2.GetLineageRequest(reference=reference)
        return [artifact_from_proto(found) for found in self._call(self._stub.GetLineage, request).artifacts]

    def label(self, name: str) -> Label | None:
        """Where a label points; None where there is none."""
        try:
            found = self._call(self._stub.GetLabel, artifacts_pb2.GetLabelRequest(label=name))
        except NotFound:
            return None
        return Label(name, found.digest, found.version)

    def set_label(self, name: str, digest: str, expected_version: str | None) -> str:
        """Points `name` at an artifact and returns the new version; expected_version as ArtifactStore.set_label.

        Aborted where the label moved.
        """
        request = artifacts_pb2.SetLabelRequest(label=name, digest=digest, expected_version=expected_version or "")
        version: str = self._call(self._stub.SetLabel, request).version
        return version

    def _upload_missing(self, files: Sequence[File], sources: Mapping[str, Path | bytes], progress: Progress) -> None:
        missing = {file.sha256: file for file in files}
        for known in self._find(list(missing)):
            del missing[known]
        total_bytes = sum(file.size_bytes for file in missing.values())
        sent_bytes = 0
        for file in missing.values():
            self._upload(file, sources[file.path], _Shifted(progress, sent_bytes, total_bytes))
            sent_bytes += file.size_bytes

    def _find(self, hashes: Sequence[str]) -> Iterator[str]:
        for start in range(0, len(hashes), FIND_AT_ONCE):
            request = artifacts_pb2.FindBlobsRequest(sha256=hashes[start : start + FIND_AT_ONCE])
            yield from self._call(self._stub.FindBlobs, request).sha256

    def _upload(self, file: File, source: Path | bytes, on_sent: Callable[[int], None]) -> None:
        def parts() -> Iterator[artifacts_pb2.UploadBlobRequest]:
            declaration = artifacts_pb2.BlobDeclaration(sha256=file.sha256, size_bytes=file.size_bytes)
            yield artifacts_pb2.UploadBlobRequest(declaration=declaration)
            sent = 0
            for data in _read_chunks(source):
                yield artifacts_pb2.UploadBlobRequest(data=data)
                sent += len(data)
                on_sent(sent)
            yield artifacts_pb2.UploadBlobRequest(commit=artifacts_pb2.BlobCommit())

        self._call(self._stub.UploadBlob, parts(), STREAM_TIMEOUT_S)

    def _write_tree(self, artifact: Artifact, folder: Path, progress: Progress) -> None:
        written_bytes = 0
        for file in artifact.manifest.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                for chunk in self._chunks(artifact.digest, file):
                    stream.write(chunk)
                    written_bytes += len(chunk)
                    progress(written_bytes, artifact.size_bytes, "bytes")

    def _chunks(self, reference: str, file: File) -> Iterator[bytes]:
        digest, size = hashlib.sha256(), 0
        try:
            request = artifacts_pb2.ReadFileRequest(reference=reference, path=file.path)
            for answer in self._stub.ReadFile(request, timeout=STREAM_TIMEOUT_S):
                digest.update(answer.data)
                size += len(answer.data)
                yield answer.data
        except grpc.RpcError as error:
            raise error_from_rpc(error) from None
        if size != file.size_bytes or digest.hexdigest() != file.sha256:
            raise DataLoss(f"{file.path} did not arrive as its hash says; fetch it again")

    @staticmethod
    def _call(method: Callable[..., Any], request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from None


def _report(progress: Progress, before: int, total: int, sent: int) -> None:
    progress(before + sent, total, "bytes")


@dataclass(frozen=True)
class _Shifted:
    """Progress within one file as progress of them all."""

    progress: Progress
    before_bytes: int
    total_bytes: int

    def __call__(self, sent_bytes: int) -> None:
        self.progress(self.before_bytes + sent_bytes, self.total_bytes, "bytes")


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceExhausted("no space is left where the artifact should go; free some") from error
        raise PermissionDenied(
            f"the artifact cannot be written there ({error.strerror}); name a directory that can be written"
        ) from error


def _read_chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, len(source), CHUNK_BYTES):
            yield source[start : start + CHUNK_BYTES]
        return
    with source.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
