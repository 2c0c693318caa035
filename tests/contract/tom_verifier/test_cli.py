"""`assay tom-verifier` as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from contract.tom_verifier.conftest import CLAIMS, QUESTION, STORY
from contract.tom_verifier.scripted_endpoint import Reply, scripted_endpoint

ASSAY = Path(sys.executable).with_name("assay")


@pytest.fixture
def story(tmp_path: Path) -> str:
    (tmp_path / "story.txt").write_text(STORY)
    return str(tmp_path / "story.txt")


def assay(store: str, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ASSAY_STORE": store, "COLUMNS": "200"}
    return subprocess.run(
        [ASSAY, "tom-verifier", *arguments], env=environment, input=typed, capture_output=True, text=True, timeout=240
    )


def document(store: str, *arguments: str) -> Any:
    done = assay(store, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_from_stories_to_their_evaluation_and_audit(store: str, tmp_path: Path) -> None:
    rows, answers = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    told = document(store, "generate", "--count", "3", "--seed", "4", "--out", str(rows))
    assert len(told["stories"]) == 3
    kept = [json.loads(line) for line in rows.read_text().splitlines()]
    kept[0]["published_answer"] = "nowhere_at_all"
    rows.write_text("".join(json.dumps(row) + "\n" for row in kept))
    found = document(store, "eval", str(rows), "--profile", "hitom", "--answers", str(answers))
    assert (found["total"], found["agree"], found["unparsed"]) == (15, 14, 0)
    assert sum(group["total"] for group in found["by_group"].values()) == 15
    assert "length_1/no_tell/order_0" in found["by_group"]
    assert [json.loads(line)["id"] for line in answers.read_text().splitlines()] == [row["id"] for row in kept]
    assert document(store, "audit", str(rows))["ids"] == [kept[0]["id"]]


def test_a_story_is_asked_drawn_and_checked(store: str, story: str, tmp_path: Path) -> None:
    assert assay(store, "ask", "-", QUESTION, typed=STORY).stdout.splitlines()[0] == "blue_crate"
    timeline, models = tmp_path / "t.svg", tmp_path / "m.svg"
    simulated = document(
        store, "simulate", story, "--chain", "Liam,Owen", "--timeline", str(timeline), "--models", str(models)
    )
    assert len(simulated["steps"]) == 10
    assert "<svg" in timeline.read_text()
    assert "<svg" in models.read_text()
    trace = tmp_path / "trace.txt"
    steps = "".join(f"## Step {number} ##\nso [{claim}]\n" for number, claim in enumerate(CLAIMS, 1))
    trace.write_text(f"{steps}Final Answer: [blue_crate]\n")
    checked = document(store, "check", story, QUESTION, str(trace))
    assert checked["answer_right"]
    assert all(step["right"] for step in checked["steps"])


def test_a_trained_verifier_scores_and_its_scores_select(store: str, story: str, trained: Any, tmp_path: Path) -> None:
    traces, scored = tmp_path / "traces.jsonl", tmp_path / "scored.jsonl"
    wrong = [*CLAIMS[:9], "red_box"]
    traces.write_text("".join(json.dumps({"claims": list(claims)}) + "\n" for claims in (CLAIMS, wrong)))
    found = document(store, "score", trained.verifier, story, QUESTION, str(traces), "--out", str(scored))
    assert [one["answer"] for one in found["scores"]] == ["blue_crate", "red_box"]
    chosen = document(store, "select", str(scored), "--aggregation", "min", "--method", "weighted")
    assert chosen["answer"] == "blue_crate"


def test_a_puzzle_is_checked(store: str) -> None:
    found = document(store, "mc", "--example", "muddy-children", "--n", "5")
    assert found["rounds"] == 5
    assert all(verdict["holds"] for verdict in found["verdicts"])
    assert isinstance(found["seconds"], float)
    assert found["nodes"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("parse", "/nowhere/at/all"), 2, "/nowhere/at/all"),
        (("ask", "-", "What is love?"), 2, "question"),
        (("mc",), 2, "--example"),
        (("mc", "-", "--n", "60"), 2, "--n: is an example's size"),
        (("mc", "-", "--backend", "bdd", "--max-worlds", "1"), 2, "max_worlds: is of listed worlds"),
        (("score", "sha256:" + "0" * 64, "-", QUESTION, "/dev/null"), 2, "holds no row"),
        (("eval", "-"), 2, "holds no row"),
        (("generate", "--nonsense"), 2, "nonsense"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(store: str, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = assay(store, *arguments, typed="" if arguments[0] == "eval" else STORY)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_traces_are_written_by_a_generator_and_scored(
    store: str, story: str, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(body: dict[str, Any]) -> Reply:
        steps = "".join(f"## Step {number} ##\nso [{claim}]\n" for number, claim in enumerate(CLAIMS, 1))
        return Reply.chat(f"{steps}Final Answer: [blue_crate]" if body["seed"] % 3 else "In the blue crate, I think.")

    written, out = tmp_path / "written.jsonl", tmp_path / "out.jsonl"
    command = ["score", trained.verifier, story, QUESTION, "--samples", "20", "--seed", "2"]
    kept = ["--written", str(written), "--out", str(out)]
    with scripted_endpoint(answer) as endpoint:
        monkeypatch.setenv("ASSAY_GENERATOR_URL", endpoint.url)
        found = document(store, *command, *kept, "--generator", "hosted:a-model")
        shown = assay(store, *command, "--generator", "hosted:a-model")
    rows = [json.loads(line) for line in written.read_text().splitlines()]
    refused = [number for number, row in enumerate(rows, 1) if row["refused"]]
    assert len(rows) == 20
    assert 0 < len(refused) < 20
    assert [row["sample"] for row in found["refused"]] == refused
    assert {row["sample"] for row in found["scores"]} == set(range(1, 21)) - set(refused)
    assert len(out.read_text().splitlines()) == 20 - len(refused)
    assert shown.returncode == 0, shown.stderr
    assert f"{len(refused)} of 20 texts are no traces" in shown.stdout
    found = document(store, *command, "--generator", trained.generator)
    assert (len(found["scores"]), found["refused"]) == (20, [])
    for wrong in (command, [*command, str(written), "--generator", trained.generator]):
        assert "TRACES" in assay(store, *wrong).stderr


def test_many_rows_go_in_several_messages_and_a_broken_one_is_named_by_its_line(store: str, tmp_path: Path) -> None:
    kept = {"id": "a", "story": "", "question": QUESTION, "published_answer": "x"}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(kept)}\n" * 12_000)
    found = document(store, "eval", str(tmp_path / "rows.jsonl"))
    assert (found["total"], found["unparsed"]) == (12_000, 12_000)
    del kept["story"]
    (tmp_path / "broken.jsonl").write_text(f"{json.dumps(kept | {'story': STORY})}\n\n{json.dumps(kept)}\n")
    for command in ("eval", "audit"):
        done = assay(store, command, str(tmp_path / "broken.jsonl"))
        assert done.returncode == 2
        assert "line 3: row.story: is missing" in done.stderr


def test_rows_of_bigtom_are_counted_and_none_is_guessed(store: str, tmp_path: Path) -> None:
    names = ("story", "aware_of_event", "not_aware_of_event", "action_aware", "action_not_aware", "belief_question")
    names += ("action_question", "belief_answer_aware", "belief_answer_not_aware")
    record = dict.fromkeys((*names, "action_answer_aware", "action_answer_not_aware"), "Noor makes tea.") | {"row": 0}
    (tmp_path / "rows.jsonl").write_text(json.dumps(record))
    found = document(store, "eval", str(tmp_path / "rows.jsonl"))
    assert (found["total"], found["agree"], found["unparsed"]) == (6, 0, 6)
    assert found["by_group"]["BigToM/forward_belief/false_belief"]["unparsed"] == 1
