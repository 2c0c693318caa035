"""Counted calls at a steady rate, by ghz, a client that nobody here wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conftest import REPOSITORY, find_tool

from cluster.client import STORY
from cluster.release import Release


@contextmanager
def load(release: Release, calls: int, rate: int) -> Iterator[dict[str, Any]]:
    """So many counted calls at so many a second; the block must end before they do. The dict has the report after."""
    process = release.kubernetes.start_program(
        find_tool("ghz"), "--insecure", "--protoset", REPOSITORY / "protos/published.binpb",
        "--call", "assay.tom_verifier.v1.TomVerifierService/ParseStory", "-d", json.dumps({"story": STORY}),
        "--rps", str(rate), "-n", str(calls), "-c", "20", "--timeout", "20s", "-O", "json",
        release.address("tom_verifier"),
    )  # fmt: skip
    report: dict[str, Any] = {}
    try:
        yield report
        assert process.poll() is None, "the load was over before the change was"
    finally:
        said, _ = process.communicate(timeout=calls / rate + 120)
    report |= json.loads(said)


def milliseconds(report: dict[str, Any], percentage: int) -> float:
    found = [each["latency"] for each in report["latencyDistribution"] if each["percentage"] == percentage]
    return float(found[0]) / 1e6
