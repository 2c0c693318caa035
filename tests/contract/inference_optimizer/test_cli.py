"""`assay inference-optimizer` as a person types it: the names and JSON fields that scripts stand on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.client.embedded import EmbeddedPlatform
from assay.config import Config

ASSAY = Path(sys.executable).with_name("assay")
SPARSE = ("--block-size", "16", "--sink-tokens", "16", "--window-tokens", "16", "--dense-layers", "1")
CODE = "import os\nimport sys\n\n\ndef main(argv):\n    for name in argv:\n        print(name)\n"


class CommandLine:
    """The command, talking to a front in this process, whose engine is warm."""

    def __init__(self, trained: Any, endpoint: str) -> None:
        self._environment = {**os.environ, "ASSAY_STORE": trained.store, "ASSAY_ENDPOINT": endpoint, "COLUMNS": "200"}

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ASSAY, "inference-optimizer", *arguments],
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def document(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def assay(trained: Any) -> Iterator[CommandLine]:
    platform = EmbeddedPlatform(Config(store=trained.store))
    yield CommandLine(trained, platform.start())
    platform.stop()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "code.py"
    path.write_text("".join(f"{CODE}VALUE_{n} = {n}\n" for n in range(120)))
    return str(path)


def test_bench_attention(assay: CommandLine) -> None:
    size = ("--length", "512", "--query-heads", "4", "--kv-heads", "2", "--head-dim", "32", "--rounds", "1")
    found = assay.document("bench", "attention", "--device", "cpu", *size, "--density", "0.4", *SPARSE)
    assert set(found) >= {"dense_ms", "sparse_ms", "selection_ms", "ratio", "density", "baseline", "dtype"}
    assert found["dtype"] == "float32"
    assert found["density"] == pytest.approx(0.4, abs=0.02)
    assert found["ratio"] == pytest.approx(found["dense_ms"] / found["sparse_ms"])


def test_inspect(assay: CommandLine, trained: Any, file: str, tmp_path: Path) -> None:
    model, out = str(trained.artifacts.path(trained.model)), tmp_path / "heat.svg"
    asked = ("inspect", model, "--text", file, "--length", "256", "--density", "0.4", *SPARSE)
    found = assay.document(*asked, "--out", str(out))
    assert (found["tokens"], found["block_size"], len(found["layers"])) == (256, 16, 4)
    for layer in found["layers"][1:]:
        assert len(layer["blocks"]) == 16
        assert all(max(chosen) == row for row, chosen in enumerate(layer["blocks"]))
    assert 0.3 < found["density"] < 0.7  # a dense layer and three of 0.4
    assert out.read_bytes().startswith(b"<?xml")


def test_quality(assay: CommandLine, trained: Any, file: str) -> None:
    methods = "dense,oracle,sketch_walk,one_hop,sink_window,random"
    asked = ("--text", file, "--density", "0.4", "--methods", methods, "--sequences", "4", "--sequence-tokens", "192")
    found = assay.document("quality", *asked, *SPARSE, trained.model)
    assert list(found["nll"]) == methods.split(",")
    sparse = [density for method, density in found["density"].items() if method != "dense"]
    assert max(sparse) - min(sparse) < 0.005
    assert 0 < found["nll"]["dense"] < 10


def test_a_long_file_is_read_to_its_end(assay: CommandLine, trained: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text(CODE * 14_000 + "the_end = 1\n")
    assert path.stat().st_size > 1_000_000
    found = assay.document(
        "profile-exit", trained.model, "--text", str(path), "--sequences", "2", "--sequence-tokens", "32"
    )
    manifest = trained.artifacts.get(found["profile"]).manifest
    (text,) = [digest for digest in manifest.inputs if digest != trained.model]
    row = json.loads(trained.artifacts.read(text, "test.jsonl"))
    assert row["text"] == path.read_text()


def test_profile_and_calibrate_and_generate(assay: CommandLine, trained: Any, file: str) -> None:
    text = ("--text", file, "--sequences", "24", "--sequence-tokens", "48")
    profile = assay.document("profile-exit", trained.model, *text)
    assert [layer["layer"] for layer in profile["layers"]] == [1, 2, 3, 4]
    assert 0 <= profile["oracle_saving"] < 1
    calibrated = assay.document("calibrate", trained.model, *text, "--epsilon", "0.5", "--rule", "margin")
    assert calibrated["rule"] == "margin"
    asked = ("generate", trained.model, "--prompt", CODE, "--max-new-tokens", "8")
    greedy = assay.document(*asked)
    assert len(greedy["tokens"]) == greedy["usage"]["generated_tokens"] == 8
    drafted = assay.document(*asked, "--exit-layer", "2")
    assert drafted["text"] == greedy["text"]
    early = assay.document(*asked, "--calibration", calibrated["calibration"])
    assert {token["exit_layer"] for token in early["tokens"]} <= {1, 2, 3, 4}
    sparse = ("--density", "0.4", *SPARSE)
    calibrated = assay.document("calibrate", trained.model, *text, *sparse, "--epsilon", "0.5", "--rule", "margin")
    assert calibrated["sparse"]["target_density"] == 0.4
    early = assay.document(*asked, "--calibration", calibrated["calibration"])
    assert early["tokens"] == assay.document(*asked, *sparse, "--calibration", calibrated["calibration"])["tokens"]
    assert early["usage"]["layers"]


def test_generate_continues_standard_input(assay: CommandLine, trained: Any) -> None:
    asked = ("generate", trained.model, "--max-new-tokens", "8", "--density", "0.4", *SPARSE)
    done = assay.run(*asked, stdin=CODE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n") == assay.document(*asked, "--prompt", CODE)["text"].rstrip("\n")
    assert "ended by length" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("inspect", "no-such-label"), 3, "no-such-label"),
        (("bench", "attention", "--density", "1.5", "--length", "64"), 2, "density"),
        (("bench", "attention", "--block-size", "8"), 2, "block_size"),
        (("quality", "x", "--methods", "dense,magic"), 2, "magic"),
        (("generate", "x", "--prompt", "y", "--exit-layer", "1", "--calibration", "z"), 2, "--exit-layer"),
        (("calibrate", "x", "--exit-layers", "one"), 2, "--exit-layers"),
        (("serve", "--listen", "nowhere"), 2, "--listen"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(
    assay: CommandLine, trained: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    arguments = tuple(trained.model if argument == "x" else argument for argument in arguments)
    done = assay.run(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
