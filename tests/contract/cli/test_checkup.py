"""`assay checkup` against real fronts: services that answer, fail, do not apply, are away, or never end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from .conftest import Shell, beats, interrupt, make_model, wait_until

SCHEMA = json.loads(resources.files("assay.checkup").joinpath("report-card.schema.json").read_text())


def card(folder: Path) -> dict[str, Any]:
    """The JSON of a report, which must be what its schema says."""
    document: dict[str, Any] = json.loads((folder / "report.json").read_text())
    Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(document)
    return document


def states(folder: Path) -> dict[str, str]:
    return {section["service"]: section["state"] for section in card(folder)["sections"]}


def test_one_command_with_everything_inside_it_writes_a_card(shell: Shell, model: Path, text: Path) -> None:
    done = shell("checkup", model, "--text", text, "--services", "chatty", "--out", "out")
    assert done.returncode == 0, done.stderr
    found = card(shell.home / "out")
    assert (found["model"]["name"], found["model"]["parameters"]) == ("tiny model", 6)
    assert (found["model"]["family"], found["model"]["dtypes"]) == ("llama", {"BF16": 6})
    (answer,) = found["sections"]
    assert answer["section"]["figures"][0] == {
        "label": "Bytes", "value": found["model"]["size_bytes"], "unit": "bytes", "note": "counted",
        "low": found["model"]["size_bytes"] - 1, "high": found["model"]["size_bytes"] + 1,
    }  # fmt: skip
    lineage = {artifact["digest"]: artifact for artifact in found["artifacts"]}
    assert set(lineage[answer["artifact"]]["inputs"]) == {found["model"]["digest"], found["text"]["digest"]}
    page = (shell.home / "out/report.html").read_text()
    assert "How large is this model on disk?" in page
    assert "<svg" in page
    assert "Bytes say little." in page
    table = re.sub(r"[^\w.]+", " ", done.stdout)
    assert "chatty How large is this" in table
    assert "Bytes 148 bytes 147 to 149" in table
    assert done.stdout.splitlines()[-1] == f"report card: {shell.home / 'out/report.html'}"
    assert re.fullmatch(r"chatty \.\.\.\nchatty: answered in \d+\.\d s\n", done.stderr)
    assert "\x1b" not in done.stdout + done.stderr


def test_one_service_failing_does_not_cost_the_others_answers(shell: Shell, model: Path, text: Path) -> None:
    with shell.serving("chatty", "grumpy", "shy") as address:
        shell.variables["ASSAY_ENDPOINT"] = address
        shell.variables["ASSAY_AWAY_ENDPOINT"] = "127.0.0.1:9"
        done = shell("checkup", model, "--text", text, "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    said = states(shell.home / "out")
    assert said == {"away": "unreachable", "chatty": "answered", "grumpy": "failed", "shy": "not_applicable"}
    summary = json.loads(done.stdout)
    assert {section["service"]: section["state"] for section in summary["sections"]} == said
    page = (shell.home / "out/report.html").read_text()
    assert "this model has no experts; ask about one that has" in page
    assert "could not be reached" in page
    assert "quote error id" in page
    assert "the secret of the host" not in page + done.stdout + done.stderr
    ends = [line for line in done.stderr.splitlines() if re.match(r"(chatty|grumpy|shy): (answered|failed|does)", line)]
    assert len(ends) == 3


@pytest.mark.parametrize(("service", "code"), [("grumpy", 1), ("shy", 6)])
def test_where_no_service_answers_the_failure_is_the_exit_code(
    shell: Shell, model: Path, text: Path, service: str, code: int
) -> None:
    done = shell("checkup", model, "--text", text, "--services", service, "--out", "out")
    assert done.returncode == code
    assert len(card(shell.home / "out")["sections"]) == 1


def test_a_defect_in_a_service_leaves_its_traceback_in_a_file_that_is_named(
    shell: Shell, model: Path, text: Path
) -> None:
    done = shell("checkup", model, "--text", text, "--services", "grumpy")
    file = Path(done.stderr.splitlines()[-1].rpartition(" told in ")[2])
    (answer,) = card(shell.home / "report")["sections"]
    error_id = re.search(r"error id (\w+)", answer["error"]["message"])
    assert error_id is not None
    logged = file.read_text()
    assert error_id[1] in logged
    assert "RuntimeError: the secret of the host" in logged
    assert "Traceback" not in done.stderr


def test_an_endpoint_that_is_away_is_told_at_once(shell: Shell, model: Path) -> None:
    done = shell("checkup", model, "--endpoint", "127.0.0.1:9")
    assert (done.returncode, done.stderr.count("\n")) == (9, 1)
    assert "answers at 127.0.0.1:9" in done.stderr
    assert not (shell.home / "report/report.json").exists()


def test_a_service_nobody_serves_is_a_mistake_of_the_command_line(shell: Shell, model: Path) -> None:
    done = shell("checkup", model, "--services", "chatty,nobody")
    assert done.returncode == 2
    assert re.search(r"--services: names nobody, which nobody serves; there are chatty, .*shy", done.stderr)


@pytest.mark.parametrize(
    ("argument", "code", "said"),
    [
        ("no-such-model", 3, "MODEL: no-such-model is neither a directory here nor an artifact there"),
        ("empty", 2, "MODEL: empty has no config.json"),
        ("unweighted", 2, "MODEL: unweighted has no model.safetensors"),
        ("pickled", 7, "MODEL: pickled has pytorch_model.bin and no safetensors"),
        ("file.txt", 2, "MODEL: file.txt is a file"),
        ("", 2, "MODEL: is empty"),
    ],
)
def test_a_model_that_is_none_is_refused_with_the_next_step(shell: Shell, argument: str, code: int, said: str) -> None:
    (shell.home / "empty").mkdir()
    (shell.home / "file.txt").touch()
    for name in ("unweighted", "pickled"):
        make_model(shell.home / name)
        (shell.home / name / "model.safetensors").unlink()
    (shell.home / "pickled/pytorch_model.bin").touch()
    done = shell("checkup", argument, "--services", "chatty")
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"assay: {said}")


def test_a_card_replaces_only_cards(shell: Shell, model: Path, text: Path) -> None:
    out = shell.home / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    arguments = ("checkup", model, "--text", text, "--services", "chatty", "--out", "out")
    assert shell(*arguments).returncode == 0
    first = (out / "report.json").stat().st_ino
    assert shell(*arguments).returncode == 0
    assert (out / "report.json").stat().st_ino != first
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "report.html", "report.json"]
    (out / "report.html").write_text("<p>somebody's own page</p>")
    done = shell(*arguments)
    assert done.returncode == 4
    assert "report.html is there already and is no report card" in done.stderr
    assert (out / "report.html").read_text() == "<p>somebody's own page</p>"


def test_a_stored_model_is_found_by_label_and_digest(shell: Shell, model: Path, text: Path) -> None:
    digest = shell.json("artifacts", "put", model, "--kind", "model", "--label", "mine/tiny")["digest"]
    wrong = shell.json("artifacts", "put", text, "--kind", "text", "--label", "mine/text")["digest"]
    for argument, name in (("mine/tiny", "mine/tiny"), (digest, digest[7:19]), (digest[7:17], digest[7:19])):
        shell.json("checkup", argument, "--text", "mine/text", "--services", "chatty", "--out", "out")
        found = card(shell.home / "out")
        assert (found["model"]["digest"], found["model"]["name"]) == (digest, name)
        assert found["text"] == {**found["text"], "digest": wrong, "name": "mine/text"}
    done = shell("checkup", wrong, "--services", "chatty")
    assert done.returncode == 2
    assert "is an artifact of kind text" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("embedded", [True, False], ids=["embedded", "endpoint"])
def test_an_interrupt_cancels_what_runs(
    shell: Shell, model: Path, text: Path, tmp_path: Path, number: int, embedded: bool
) -> None:
    file = tmp_path / "beats"
    shell.variables["ASSAY_TEST_BEATS"] = str(file)

    def stop(*endpoint: str) -> None:
        process = shell.start("checkup", model, "--text", text, "--services", "slow,chatty", *endpoint)
        wait_until(lambda: len(beats(file)) > 20)
        _, errors = interrupt(process, number)
        assert process.returncode == 130
        assert errors.splitlines()[-1] == "assay: interrupted"
        assert "Traceback" not in errors
        count = len(beats(file))
        time.sleep(0.5)
        assert len(beats(file)) == count
        done = shell.json("operations", "ls", *(["--endpoint", endpoint[1]] if endpoint else []))["operations"]
        slow = [found for found in done if found["method"].endswith("/slow")]
        assert [(found["state"], (found["error"] or {}).get("code")) for found in slow] == [("failed", "CANCELLED")]

    if embedded:
        stop()
    else:
        with shell.serving("chatty", "slow") as address:
            stop("--endpoint", address)


def test_services_are_asked_at_once_and_one_that_never_ends_does_not_hold_up_another(
    shell: Shell, model: Path, text: Path, tmp_path: Path
) -> None:
    file = tmp_path / "beats"
    shell.variables["ASSAY_TEST_BEATS"] = str(file)
    with shell.serving("chatty", "slow") as address:
        process = shell.start("checkup", model, "--text", text, "--endpoint", address)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("chatty: answered"):
                break
        assert process.poll() is None
        wait_until(lambda: len(beats(file)) > 5)
        (open_one,) = shell.json("operations", "ls", "--state", "open", "--endpoint", address)["operations"]
        # Cancelled by somebody else, it is one more thing to say on the card.
        shell.json("operations", "cancel", open_one["name"], "--endpoint", address)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert states(shell.home / "report") == {"chatty": "answered", "slow": "cancelled"}


def test_a_destination_that_cannot_be_written_is_told_before_the_work(shell: Shell, model: Path) -> None:
    # Even an administrator makes no folder there.
    done = shell("checkup", model, "--services", "chatty", "--out", "/proc/report")
    assert done.returncode == 7
    assert "name another with --out" in done.stderr


def test_a_demo_without_services_says_so_before_it_trains(shell: Shell) -> None:
    # Nothing but this package: an interpreter that sees no other distribution's entry points.
    script = (
        "import importlib.metadata as metadata, sys; metadata.entry_points = lambda **kw: metadata.EntryPoints(());"
        "sys.argv = ['assay', 'demo']; from assay.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=shell.environment, cwd=shell.home, capture_output=True, text=True
    )
    assert done.returncode == 5
    assert re.fullmatch(r"assay: no service is installed; [^\n]*pip install[^\n]*\n", done.stderr)
