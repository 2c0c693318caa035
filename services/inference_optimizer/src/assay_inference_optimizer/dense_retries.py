"""Counts, for Prometheus, what was read again densely because sparse attention gave logits that are no numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter

from assay.errors import AssayError
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer.core.no_numbers import DENSE_RETRY

ANSWERED, FAILED = "answered", "failed"

RETRIES = Counter(
    "assay_inference_optimizer_dense_retries",
    "Texts read again densely because sparse attention gave logits that are no numbers, by how that ended.",
    ("outcome",),
)


@contextmanager
def counting_failures() -> Iterator[None]:
    """Counts an error that ends a call after dense attention was tried in vain."""
    try:
        yield
    except AssayError as error:
        if DENSE_RETRY in error.metadata:
            RETRIES.labels(FAILED).inc()
        raise


def count_answered(reply: object) -> None:
    """Counts what a reply of the engine says was answered densely after all."""
    retries = 0
    if isinstance(reply, api.GenerateResponse | api.DecodeResponse):
        retries = int(reply.generated.usage.dense_retry)
    elif isinstance(reply, api.PrefillResponse):
        retries = int(reply.dense_retry)
    elif isinstance(reply, api.ScoreResponse):
        retries = sum(score.dense_retry for score in reply.scores)
    if retries:
        RETRIES.labels(ANSWERED).inc(retries)
