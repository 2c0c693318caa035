"""Epistemic models over a real socket: created, updated, contracted, checked."""

from __future__ import annotations

from typing import Any

import pytest
from contract.tom_verifier.conftest import MODEL

from assay.client.connection import Connection
from assay.errors import FailedPrecondition, InvalidInput
from assay.tom_verifier.v1 import epistemic_pb2 as api

EXPLICIT, BDD = api.EPISTEMIC_BACKEND_EXPLICIT, api.EPISTEMIC_BACKEND_BDD
CLAIMS = "claim K[a] q\nclaim K[a] p\nannounce p\nclaim K[a] p\nclaim K[b] q\n"


@pytest.fixture(params=[EXPLICIT, BDD], ids=["explicit", "bdd"])
def backend(request: pytest.FixtureRequest) -> Any:
    if request.param == BDD:
        pytest.importorskip("dd.cudd", reason="needs dd with CUDD: pip install 'assay-tom-verifier[symbolic]'")
    return request.param


def test_a_text_of_model_and_claims_is_run(connection: Connection, stub: Any, backend: Any) -> None:
    answer = connection.call(stub.ModelCheck, api.ModelCheckRequest(text=MODEL + CLAIMS, backend=backend))
    assert [verdict.holds for verdict in answer.verdicts] == [True, False, True, False]
    assert answer.rounds == 1
    assert (answer.nodes > 0) == (backend == BDD)


def test_the_puzzles_come_out_as_the_literature_has_them(connection: Connection, stub: Any, backend: Any) -> None:
    for name, n in (("muddy-children", 7), ("dining-cryptographers", 4), ("russian-cards", 0)):
        request = api.ModelCheckRequest(example=api.Example(name=name, n=n), backend=backend)
        answer = connection.call(stub.ModelCheck, request)
        assert answer.verdicts
        assert all(verdict.holds for verdict in answer.verdicts), name
        if name == "muddy-children":
            assert answer.rounds == n


def test_a_stored_model_is_updated_and_the_old_one_stays(connection: Connection, stub: Any) -> None:
    created = connection.call(stub.CreateModel, api.CreateModelRequest(text=MODEL)).model
    assert created.worlds == 3
    source = api.ModelSource(model=created.model)
    updated = connection.call(stub.UpdateModel, api.UpdateModelRequest(model=source, events="announce p\n"))
    assert (updated.product_worlds, updated.model.worlds) == (2, 2)
    for model, knows in ((created.model, False), (updated.model.model, True)):
        answer = connection.call(stub.ModelCheck, api.ModelCheckRequest(text="claim K[a] p\n", model=model))
        assert [verdict.holds for verdict in answer.verdicts] == [knows]


# b holds !p possible alone, so that hearing p leaves b nothing.
WRONG = """model
  agents a, b
  atoms p
  world w0: p
  world w1:
  relation a: w0 -> w0; w1 -> w1
  relation b: w0, w1 -> w1
  point w0
end
"""
# a holds u possible and b holds v, two copies of one world: together they rule out both. Merged, neither.
COPIES = """model
  agents a, b
  atoms p
  world w:
  world u: p
  world v: p
  relation a: w, u -> u; v -> v
  relation b: w, v -> v; u -> u
  point w
end
"""


def holds(connection: Connection, stub: Any, model: str, claims: str) -> list[bool]:
    answer = connection.call(stub.ModelCheck, api.ModelCheckRequest(text=claims, model=model))
    return [verdict.holds for verdict in answer.verdicts]


@pytest.mark.parametrize(
    ("model", "events", "claims"),
    [
        (WRONG, "announce p\n", "claim B[b] !p\nclaim B[b] false\nclaim B[a] B[b] false\nclaim B[a] false\n"),
        (COPIES, "announce true\n", "claim D[a, b] !p\nclaim B[a] p & B[b] p\n"),
        (COPIES, "announce D[a, b] !p\n", "claim D[a, b] false\nclaim D[a, b] p\n"),
        (MODEL, "announce p\n", "claim K[a] p\nclaim D[a, b] q\nclaim K[b] q\n"),
    ],
    ids=["contradictory beliefs", "copies", "announced together", "knowledge"],
)
def test_what_is_stored_after_an_update_is_what_a_text_would_go_on_with(
    connection: Connection, stub: Any, model: str, events: str, claims: str
) -> None:
    asked = connection.call(stub.ModelCheck, api.ModelCheckRequest(text=model + events + claims))
    source = api.ModelSource(model=connection.call(stub.CreateModel, api.CreateModelRequest(text=model)).model.model)
    request = api.UpdateModelRequest(model=source, events=events)
    stored = connection.call(stub.UpdateModel, request).model.model
    assert holds(connection, stub, stored, claims) == [verdict.holds for verdict in asked.verdicts]


def test_a_stored_model_says_of_which_frame_it_is(connection: Connection, stub: Any) -> None:
    for model, events, frame in (
        (MODEL, "announce p\n", "S5"),
        (WRONG, "announce true\n", "KD45"),
        (WRONG, "announce p\n", "K45"),
    ):
        request = api.UpdateModelRequest(model=api.ModelSource(text=model), events=events)
        updated = connection.call(stub.UpdateModel, request)
        assert f"frame {frame}\n" in updated.model.text
        assert list(updated.not_serial) == (["b"] if frame == "K45" else [])
        contracted = connection.call(stub.Contract, api.ContractRequest(model=api.ModelSource(text=model)))
        assert f"frame {'S5' if model == MODEL else 'KD45'}\n" in contracted.model.text


def test_a_contracted_model_is_not_asked_for_distributed_knowledge(connection: Connection, stub: Any) -> None:
    contracted = connection.call(stub.Contract, api.ContractRequest(model=api.ModelSource(text=COPIES))).model
    assert contracted.worlds == 2
    source = api.ModelSource(model=contracted.model)
    updated = connection.call(stub.UpdateModel, api.UpdateModelRequest(model=source, events="announce true\n")).model
    for stored in (contracted.model, updated.model):
        assert holds(connection, stub, stored, "claim B[a] p & B[b] p\n") == [True]
        with pytest.raises(FailedPrecondition, match="distributed knowledge"):
            holds(connection, stub, stored, "claim D[a, b] !p\n")
    with pytest.raises(FailedPrecondition, match="distributed knowledge"):
        connection.call(stub.UpdateModel, api.UpdateModelRequest(model=source, events="announce D[a, b] !p\n"))


def test_an_update_that_cannot_happen_changes_nothing(connection: Connection, stub: Any) -> None:
    created = connection.call(stub.CreateModel, api.CreateModelRequest(text=MODEL)).model.model
    source, asked = api.ModelSource(model=created), "claim K[a] p\nclaim K[b] p\nclaim p\nclaim K[b] q\n"
    before = holds(connection, stub, created, asked)
    assert before == [False, True, True, False]
    with pytest.raises(FailedPrecondition, match="false at the actual world"):
        connection.call(stub.UpdateModel, api.UpdateModelRequest(model=source, events="announce !p\n"))
    events = "events none\n  frame S5\n  event e: pre !p & !q\n  relation a: {e}\n  relation b: {e}\n  point e\nend\n"
    with pytest.raises(FailedPrecondition, match="cannot happen"):
        connection.call(stub.UpdateModel, api.UpdateModelRequest(model=source, events=events + "update none\n"))
    assert holds(connection, stub, created, asked) == before


def test_contraction_gives_the_smallest_bisimilar_model(connection: Connection, stub: Any) -> None:
    twins = """model
  frame S5
  agents a
  atoms p
  world w0: p
  world w1: p
  world w2:
  relation a: {w0, w1, w2}
  point w0
end
"""
    answer = connection.call(stub.Contract, api.ContractRequest(model=api.ModelSource(text=twins)))
    assert (answer.worlds_before, answer.model.worlds) == (3, 2)


def test_errors_name_line_and_column(connection: Connection, stub: Any) -> None:
    with pytest.raises(InvalidInput, match="line 13, column 12"):
        connection.call(stub.ModelCheck, api.ModelCheckRequest(text=MODEL + "\nclaim K[a] & q\n"))
