"""The common command line, as the programs and people that use it see it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf.wrappers_pb2 import StringValue

from .conftest import ASSAY, Shell, interrupt, wait_until

HEAVY = ("torch", "transformers", "ray", "grpc", "google.protobuf", "rich", "jinja2")
ESCAPE = "\x1b"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["checkup", "--help"], ["artifacts", "--help"], ["operations", "--help"]], ids=" ".join
)
def test_help_imports_nothing_that_takes_time(shell: Shell, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ASSAY, *arguments], env=shell.environment, capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert "assay.cli.main" in imported
    assert [name for name in HEAVY if name in imported] == []


def test_help_names_every_command_and_a_services_own_summary(shell: Shell) -> None:
    done = shell("--help")
    commands = re.findall(r"^  ([a-z-]+)  ", done.stdout.partition("Commands:")[2], re.MULTILINE)
    assert {"artifacts", "checkup", "demo", "operations", "serve", "zoo", "broken"} <= set(commands)
    assert re.search(r"^  broken +Probes\.$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["artifacts"]], ids=["assay", "assay artifacts"])
def test_a_group_without_a_command_prints_its_help_as_it_stands(shell: Shell, arguments: list[str]) -> None:
    done = shell(*arguments)
    assert done.returncode == 2
    assert done.stderr == shell(*arguments, "--help").stdout


def test_a_command_that_cannot_be_loaded_fails_alone(shell: Shell) -> None:
    done = shell("broken")
    assert done.returncode == 5
    assert re.fullmatch(r"assay: the command broken cannot be loaded .*; install assay-probe again\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nonsense"], 2, "No such command 'nonsense'; see `assay --help`"),
        (["artifacts", "show"], 2, "Missing argument 'REFERENCE'; see `assay artifacts show --help`"),
        (["zoo", "train", "qwen3-moe-tiny", "--seed", "x"], 2, "'x' is not a valid integer"),
        (["operations", "watch", "no-name"], 2, "is no operation name"),
        (["artifacts", "show", "no-such-label"], 3, "there is no label no-such-label"),
        (["operations", "cancel", "0" * 32], 3, "there is no operation operations/000"),
        (["zoo", "train", "no-such-recipe"], 3, "there is no recipe no-such-recipe"),
        (["artifacts", "ls", "--endpoint", "127.0.0.1:9"], 9, "answers at 127.0.0.1:9"),
        (["operations", "ls", "--endpoint", "127.0.0.1:9"], 9, "answers at 127.0.0.1:9"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_failure_is_one_line_and_a_code(shell: Shell, arguments: list[str], code: int, said: str) -> None:
    done = shell(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert re.fullmatch(r"assay: [^\n]+\n", done.stderr)
    assert said in done.stderr
    as_json = shell(*arguments, "--json")
    error = json.loads(as_json.stdout)["error"]
    assert as_json.returncode == code
    assert said in error["message"]
    assert error["code"].isupper()


@pytest.mark.parametrize("embedded", [True, False], ids=["embedded", "endpoint"])
def test_artifacts_go_in_and_out(shell: Shell, tmp_path: Path, embedded: bool) -> None:
    folder = tmp_path / "wide"
    folder.mkdir()
    (folder / "模型-[red]ü.json").write_text('{"a": 1}')
    (folder / "plain.bin").write_bytes(bytes(70_000))

    def run() -> None:
        digest = shell.json("artifacts", "put", folder, "--kind", "notes", "--label", "mine/notes")["digest"]
        listed = shell.json("artifacts", "ls", "--kind", "notes")["artifacts"]
        assert [found["digest"] for found in listed] == [digest]
        assert [file["path"] for file in listed[0]["files"]] == ["plain.bin", "模型-[red]ü.json"]
        shown = shell("artifacts", "show", "mine/notes").stdout
        assert "模型-[red]ü.json  8 B" in shown
        assert digest in shown
        plain = shell("artifacts", "ls")
        row = rf"{digest[7:19]}  notes +2 +68\.4 KiB"
        assert re.search(row, plain.stdout)
        assert ESCAPE not in plain.stdout
        assert shell("artifacts", "get", digest, tmp_path / "back").returncode == 0
        assert (tmp_path / "back/plain.bin").read_bytes() == bytes(70_000)
        assert shell("artifacts", "get", digest, tmp_path / "back").returncode == 4
        assert shell("artifacts", "lineage", digest[7:20]).stdout.startswith(digest[7:19])

    if embedded:
        run()
    else:
        with shell.serving("probe") as address:
            shell.variables["ASSAY_ENDPOINT"] = address
            run()


def test_a_reader_that_leaves_is_no_failure(shell: Shell) -> None:
    script = f'"{ASSAY}" zoo list --json | head -1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script], env=shell.environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["{", "0"]
    assert done.stderr == ""


def test_json_survives_a_terminal_that_knows_no_unicode(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "ü.txt"
    file.write_text("x")
    digest = shell.json("artifacts", "put", file, "--kind", "notes")["digest"]
    done = shell("artifacts", "show", digest, "--json", PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)["files"][0]["path"] == "ü.txt"
    assert shell("artifacts", "show", digest, PYTHONIOENCODING="ascii").returncode == 0


# Operations ----------------------------------------------------------------------------------------------------------


def spin(address: str, file: Path) -> str:
    """Starts an operation that never ends; its name."""
    with grpc.insecure_channel(address) as channel:
        start = channel.unary_unary(
            "/assay.probe.v1.ProbeService/Spin", StringValue.SerializeToString, operations_pb2.Operation.FromString
        )
        return start(StringValue(value=f"{uuid.uuid4()}|{file}"), timeout=60).name


def test_operations_are_listed_watched_and_cancelled(shell: Shell, tmp_path: Path) -> None:
    with shell.serving("probe") as address:
        shell.variables["ASSAY_ENDPOINT"] = address
        name = spin(address, tmp_path / "turns")
        wait_until((tmp_path / "turns").exists)
        (open_one,) = shell.json("operations", "ls", "--state", "open")["operations"]
        assert (open_one["name"], open_one["state"]) == (name, "running")
        listed = shell("operations", "ls").stdout
        assert re.search(rf"{name}  ProbeService/Spin +\d{{4}}-\d\d-\d\d \S+  running  0/1 spin", listed)
        watching = shell.start("operations", "watch", name)
        assert watching.stderr is not None
        assert watching.stderr.readline().startswith(f"{name} ...")
        assert shell.json("operations", "cancel", name.partition("/")[2])["cancel_requested"]
        out, _ = watching.communicate(timeout=60)
        assert watching.returncode == 130  # the operation's failure: it was cancelled
        assert "failed cancelled" in out
        shell.variables.pop("ASSAY_ENDPOINT")
    # The front has gone; what it left is in the store, for a command that embeds one.
    (ended,) = shell.json("operations", "ls", "--state", "done")["operations"]
    assert (ended["name"], ended["error"]["code"]) == (name, "CANCELLED")
    assert shell("operations", "watch", name).returncode == 130
    assert shell.json("operations", "delete", name)["deleted"] == [name]
    assert shell("operations", "delete", name).returncode == 3
    assert shell.json("operations", "ls")["operations"] == []


def test_leaving_a_watch_does_not_stop_the_work(shell: Shell, tmp_path: Path) -> None:
    with shell.serving("probe") as address:
        shell.variables["ASSAY_ENDPOINT"] = address
        name = spin(address, tmp_path / "turns")
        watching = shell.start("operations", "watch", name)
        assert watching.stderr is not None
        watching.stderr.readline()
        _, errors = interrupt(watching)
        assert (watching.returncode, errors.splitlines()[-1]) == (130, "assay: interrupted")
        assert shell.json("operations", "ls")["operations"][0]["state"] == "running"
        shell.json("operations", "cancel", name)


# Terminals -----------------------------------------------------------------------------------------------------------


def on_a_terminal(shell: Shell, *arguments: str, **variables: str) -> str:
    """What a command writes where stdout and stderr are a terminal of 100 columns."""
    mine, theirs = pty.openpty()
    environment = {**shell.environment, "TERM": "xterm-256color", **variables}
    process = subprocess.Popen([ASSAY, *arguments], env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    while True:
        ready, _, _ = select.select([mine], [], [], 60)
        try:
            data = os.read(mine, 65536) if ready else b""
        except OSError:
            data = b""
        if not data:
            break
        written += data
    process.wait(timeout=60)
    os.close(mine)
    return written.decode(errors="replace")


def test_a_terminal_gets_a_table_and_colours_unless_it_asks_for_none(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("x")
    shell.json("artifacts", "put", file, "--kind", "notes")
    coloured = on_a_terminal(shell, "artifacts", "ls")
    assert "┃" in coloured
    assert "notes" in coloured
    assert f"{ESCAPE}[1m" in coloured
    plain = on_a_terminal(shell, "artifacts", "ls", NO_COLOR="1")
    colours = re.findall(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", plain)
    assert "┃" in plain
    assert colours == []
    assert ESCAPE not in on_a_terminal(shell, "artifacts", "ls", TERM="dumb")


def test_control_characters_of_strangers_do_not_reach_the_terminal(shell: Shell) -> None:
    done = shell("artifacts", "show", f"bad{ESCAPE}[2Jname")
    assert done.returncode in (2, 3)
    assert ESCAPE not in done.stderr


# Completion ----------------------------------------------------------------------------------------------------------


def completed(shell: Shell, *words: str) -> list[str]:
    """What a real bash offers after these words, by the script that `assay` prints for it."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"""
        eval "$(_ASSAY_COMPLETE=bash_source assay)"
        COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE="{" ".join(words)}"
        compopt() {{ echo "option $2"; }}
        _assay_completion assay '{words[-1]}' '{words[-2]}'
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**shell.environment, "PATH": f"{ASSAY.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", script], env=environment, capture_output=True, text=True, cwd=shell.home)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["assay", "op"], ["operations"]),
        (["assay", "operations", ""], ["cancel", "delete", "ls", "watch"]),
        (["assay", "operations", "ls", "--sta"], ["--state"]),
        (["assay", "operations", "ls", "--state", ""], ["open", "done"]),
        (["assay", "zoo", "train", "llama"], ["llama-tiny"]),
        (["assay", "artifacts", "put", ""], ["option default"]),
        (["assay", "checkup", "--out", ""], ["option dirnames"]),
        (["assay", "checkup", "./"], ["option dirnames"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0] == "assay" else "",
)
def test_bash_completes(shell: Shell, words: list[str], offered: list[str]) -> None:
    found = completed(shell, *words)
    assert [word for word in found if word] == offered


def test_bash_completes_commands_of_services_without_loading_them(shell: Shell) -> None:
    assert "broken" in completed(shell, "assay", "")


def test_bash_completes_labels(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("x")
    shell.json("artifacts", "put", file, "--kind", "notes", "--label", "mine/notes")
    assert completed(shell, "assay", "artifacts", "show", "mi") == ["mine/notes"]
    assert completed(shell, "assay", "checkup", "mi") == ["mine/notes"]


@pytest.mark.parametrize("kind", ["zsh", "fish"])
def test_other_shells_get_a_script(shell: Shell, kind: str) -> None:
    done = shell(_ASSAY_COMPLETE=f"{kind}_source")
    assert done.returncode == 0
    assert "assay" in done.stdout


def test_a_server_says_where_it_is_and_ends_when_told(shell: Shell) -> None:
    process = shell.start("serve", "--listen", "127.0.0.1:0", "--json", "probe")
    assert process.stdout is not None
    document: dict[str, Any] = json.loads(process.stdout.readline())
    assert re.fullmatch(r"127\.0\.0\.1:\d+", document["address"])
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0
