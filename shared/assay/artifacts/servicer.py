"""ArtifactService: artifacts over gRPC, for clients without access to the object store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import islice

import grpc.aio

from assay.artifacts.manifest import Artifact, check_digest, check_sha256
from assay.artifacts.messages import artifact_to_proto, manifest_from_proto
from assay.artifacts.spool import Spool
from assay.artifacts.store import ArtifactStore
from assay.artifacts.v1 import artifacts_pb2, artifacts_pb2_grpc
from assay.errors import Aborted, InvalidInput, NotFound, OutOfRange, ResourceExhausted

CHUNK_BYTES = 2**20
MAX_BLOB_BYTES = 200 * 2**30
MAX_FIND_BLOBS = 10_000
PAGE, MAX_PAGE = 100, 1000
PAGE_BYTES = 3 * 2**20
MAX_ANSWER_BYTES = 4 * 2**20 - 4096  # what gRPC takes, less its own framing


class ArtifactServicer(artifacts_pb2_grpc.ArtifactServiceServicer):
    """Raises AssayError only; whoever wraps the handlers turns them into statuses.

    max_blob_bytes: the largest file an upload may declare.
    """

    def __init__(self, artifacts: ArtifactStore, *, max_blob_bytes: int = MAX_BLOB_BYTES) -> None:
        self._artifacts = artifacts
        self._max_blob_bytes = max_blob_bytes

    async def GetArtifact(  # noqa: N802
        self, request: artifacts_pb2.GetArtifactRequest, context: grpc.aio.ServicerContext
    ) -> artifacts_pb2.GetArtifactResponse:
        artifact = await asyncio.to_thread(self._artifacts.get, request.reference)
        return artifacts_pb2.GetArtifactResponse(artifact=artifact_to_proto(artifact))

    async def ListArtifacts(  # noqa: N802
        self, request: artifacts_pb2.ListArtifactsRequest, context: grpc.aio.ServicerContext
    ) -> artifacts_pb2.ListArtifactsResponse:
        if not 0 <= request.page_size <= MAX_PAGE:
            raise InvalidInput("page_size", f"is {request.page_size}; 0 to {MAX_PAGE}")
        if request.page_token:
            check_digest(request.page_token, "page_token")
        size = request.page_size or PAGE

        def page() -> artifacts_pb2.ListArtifactsResponse:
            found = self._artifacts.list(request.kind or None, after=request.page_token or None)
            answer, total_bytes = artifacts_pb2.ListArtifactsResponse(), 0
            for artifact in islice(found, size + 1):
                message = artifact_to_proto(artifact)
                total_bytes += message.ByteSize()
                if answer.artifacts and (len(answer.artifacts) == size or total_bytes > PAGE_BYTES):
                    answer.next_page_token = answer.artifacts[-1].digest
                    break
                answer.artifacts.append(message)
            return answer

        return await asyncio.to_thread(page)

    async def GetLineage(  # noqa: N802
        self, request: artifacts_pb2.GetLineageRequest, context: grpc.aio.ServicerContext
    ) -> artifacts_pb2.GetLineageResponse:
        def answer() -> artifacts_pb2.GetLineageResponse:
            found = self._artifacts.lineage(request.reference)
            message = artifacts_pb2.GetLineageResponse(artifacts=[artifact_to_proto(artifact) for artifact in found])
            if message.ByteSize() > MAX_ANSWER_BYTES:
                raise ResourceExhausted(
                    f"the lineage of {len(found)} artifacts does not fit one message; ask for that of its inputs"
                )
            return message

        return await asyncio.to_thread(answer)

    async def ReadFile(  # noqa: N802
        self, request: artifacts_pb2.ReadFileRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[artifacts_pb2.ReadFileResponse]:
        if request.offset_bytes < 0 or request.length_bytes < 0:
            field = "offset_bytes" if request.offset_bytes < 0 else "length_bytes"
            raise InvalidInput(field, "is negative; give at least 0")
        artifact = await asyncio.to_thread(self._artifacts.get, request.reference)
        size = artifact.manifest.file(request.path).size_bytes
        if request.offset_bytes > size:
            raise OutOfRange(
                f"offset_bytes: is {request.offset_bytes}, beyond the {size} bytes of {request.path}; start earlier"
            )
        left = min(size - request.offset_bytes, request.length_bytes or size)
        if left == size:
            stream = await asyncio.to_thread(self._artifacts.open, artifact.digest, request.path)
            with stream:
                while data := await asyncio.to_thread(stream.read, CHUNK_BYTES):
                    yield artifacts_pb2.ReadFileResponse(data=data)
            return
        # A range is not worth fetching and hashing the whole file.
        end = request.offset_bytes + left
        for offset in range(request.offset_bytes, end, CHUNK_BYTES):
            length = min(CHUNK_BYTES, end - offset)
            data = await asyncio.to_thread(
                self._artifacts.read, artifact.digest, request.path, offset=offset, length=length
            )
            yield artifacts_pb2.ReadFileResponse(data=data)

    async def FindBlobs(  # noqa: N802
        self, request: artifacts_pb2.FindBlobsRequest, context: grpc.aio.ServicerContext
    ) -> artifacts_pb2.FindBlobsResponse:
        if len(request.sha256) > MAX_FIND_BLOBS:
            raise InvalidInput("sha256", f"holds {len(request.sha256)} hashes; at most {MAX_FIND_BLOBS} in one call")
        for index, sha256 in enumerate(request.sha256):
            check_sha256(sha256, f"sha256[{index}]")
        found = await asyncio.to_thread(lambda: [s for s in request.sha256 if self._artifacts.has_blob(s)])
        return artifacts_pb2.FindBlobsResponse(sha256=found)

    async def UploadBlob(  # noqa: N802
        self, request_iterator: AsyncIterator[artifacts_pb2.UploadBlobRequest], context: grpc.aio.ServicerContext
    ) -> artifacts_pb2.UploadBlobResponse:
        parts = aiter(request_iterator)
        first = await anext(parts, None)
        if first is None or first.WhichOneof("part") != "declaration":
            raise InvalidInput("declaration", "is missing; declare size and hash in the first message")
        declared = first.declaration
        check_sha256(declared.sha256, "declaration.sha256")
        if declared.size_bytes < 0:
            raise InvalidInput("declaration.size_bytes", f"is {declared.size_bytes}; at least 0")
        if declared.size_bytes > self._max_blob_bytes:
            raise ResourceExhausted(
                f"a file may hold {self._max_blob_bytes} bytes here; split it", reason="BLOB_TOO_LARGE"
            )
        spool = await asyncio.to_thread(Spool, declared.sha256, declared.size_bytes)
        with spool:
            committed = False
            async for part in parts:
                kind = part.WhichOneof("part")
                if committed or kind not in ("data", "commit"):
                    raise InvalidInput("part", "is out of order; send the declaration, then data, then one commit")
                if kind == "commit":
                    committed = True
                else:
                    await asyncio.to_thread(spool.append, part.data)
            if not committed:
                raise Aborted("the upload ended without a commit; nothing was kept, upload it again")
            created = await asyncio.to_thread(lambda: self._artifacts.put_blob(declared.sha256, spool.whole()))
        return artifacts_pb2.UploadBlobResponse(created=created)

    async def CreateArtifact(  # noqa: N802
        self, request: artifacts_pb2.CreateArtifactRequest, context: grpc.aio.ServicerContext
    ) -> artifacts_pb2.CreateArtifactResponse:
        def create() -> artifacts_pb2.CreateArtifactResponse:
            manifest = manifest_from_proto(request.manifest)
            created = self._artifacts.create(manifest)
            artifact = Artifact(manifest.digest, manifest)
            return artifacts_pb2.CreateArtifactResponse(artifact=artifact_to_proto(artifact), created=created)

        return await asyncio.to_thread(create)

    async def GetLabel(  # noqa: N802
        self, request: artifacts_pb2.GetLabelRequest, context: grpc.aio.ServicerContext
    ) -> artifacts_pb2.GetLabelResponse:
        found = await asyncio.to_thread(self._artifacts.label, request.label)
        if found is None:
            raise NotFound(f"there is no label {request.label}; set it first")
        return artifacts_pb2.GetLabelResponse(digest=found.digest, version=found.version)

    async def SetLabel(  # noqa: N802
        self, request: artifacts_pb2.SetLabelRequest, context: grpc.aio.ServicerContext
    ) -> artifacts_pb2.SetLabelResponse:
        version = await asyncio.to_thread(
            self._artifacts.set_label, request.label, request.digest, request.expected_version or None
        )
        return artifacts_pb2.SetLabelResponse(version=version)
