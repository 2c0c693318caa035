"""What survives load, races, kills and cancels: the tests that say so, each as often as its bar demands.

    PYTHONPATH=tests python -m bench.reliability [--only killed] [--out FILE]

The tests are those of `make test-all`; here they run one row at a time and print what they counted. A row that was
skipped, for want of MinIO or another program, counts as not measured.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

CONTRACT = Path(__file__).parent.parent / "contract"


@dataclass(frozen=True)
class Row:
    """tests: arguments of pytest. figure, bar: as the table of the service's README words them."""

    figure: str
    bar: str
    tests: tuple[str, ...]


ROWS = (
    Row(
        "5,000 unary calls at 64 in flight and 500 streams, six times over",
        "no error, memory grows by less than 4 MiB",
        (f"{CONTRACT}/server/test_load.py",),
    ),
    Row(
        "the same load from ghz, in plaintext and under mutual TLS",
        "every call OK",
        (f"{CONTRACT}/server/test_foreign_clients.py", "-k", "ghz"),
    ),
    Row(
        "16 writers racing for one key, 60 rounds, directory and MinIO, threads and processes",
        "one winner each round",
        (f"{CONTRACT}/artifacts/test_object_store_contract.py", "-k", "of_16"),
    ),
    Row(
        "operation's front killed at 20 random points",
        "result byte-identical",
        (f"{CONTRACT}/operations/test_resuming.py", "-k", "killed_at_20"),
    ),
    Row(
        "operation's engine replica killed at 20 random points",
        "result byte-identical",
        (f"{CONTRACT}/ray/test_lost_engines.py", "-k", "test_a_killed_replica"),
    ),
    Row(
        "operation's whole Ray cluster killed at 20 random points",
        "result byte-identical",
        (f"{CONTRACT}/ray/test_lost_engines.py", "-k", "test_a_killed_cluster"),
    ),
    Row(
        "calibration's front killed 20 times",
        "same artifact",
        (f"{CONTRACT}/moe_router/test_killed_and_cancelled.py", "-k", "calibration_that_is_killed and 20"),
    ),
    Row(
        "ApplyPlan's front killed 20 times",
        "active plan old or new, hash-valid",
        (f"{CONTRACT}/moe_router/test_killed_and_cancelled.py", "-k", "application_that_is_killed and 20"),
    ),
    Row(
        "running calibration cancelled, in process and on Ray",
        "work stopped within 1 s",
        (f"{CONTRACT}/moe_router", "-k", "cancelled_calibration or calibration_cancelled"),
    ),
)


@dataclass
class Counted:
    """A pytest plugin that counts outcomes and keeps what tests recorded with `record_property`."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    recorded: dict[str, object] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped += 1
        elif report.failed:
            self.failed += 1
        elif report.when == "call":
            self.passed += 1
            self.recorded.update(report.user_properties)

    @property
    def met(self) -> bool:
        return self.passed > 0 and not self.failed and not self.skipped


def run(row: Row) -> Counted:
    counted, output, begun = Counted(), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(output):
        pytest.main(["-q", "-p", "no:cacheprovider", "--durations=0", *row.tests], plugins=[counted])
    counted.seconds = time.monotonic() - begun
    if not counted.met:
        sys.stderr.write(output.getvalue())
    return counted


def main(only: str, out: Path | None) -> bool:
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    rows = [row for row in ROWS if only in row.figure]
    document, met = [], bool(rows)
    for row in rows:
        counted = run(row)
        met &= counted.met
        verdict = "met" if counted.met else "NOT MEASURED" if counted.skipped and not counted.failed else "MISSED"
        tests = f"{counted.passed} of {counted.passed + counted.failed + counted.skipped} tests"
        told = "".join(f"; {name} {value}" for name, value in counted.recorded.items())
        print(f"{row.figure}\n    bar: {row.bar}: {verdict} ({tests} in {counted.seconds:.0f} s{told})", flush=True)
        document.append({"figure": row.figure, "bar": row.bar, **asdict(counted)})
    if out:
        out.write_text(json.dumps({"bench": "reliability", "rows": document}, indent=1) + "\n")
    return met


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose figure contains this")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    sys.exit(0 if main(chosen.only, chosen.out) else 1)
