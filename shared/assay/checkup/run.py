"""A checkup from model to card: hand every server the model, ask its services, write what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.artifacts.manifest import Artifact
from assay.checkup.card import card_document
from assay.checkup.examine import Answer, examine_all, unasked
from assay.checkup.facts import ModelFacts, model_facts
from assay.checkup.targets import Target
from assay.checkup.write import check_destination, write_card
from assay.cli.progress import Board, board
from assay.client.connection import Connection
from assay.client.inputs import display_name, model_artifact, text_artifact
from assay.errors import AssayError

STANDARD_LIBRARY = "the Python standard library"


@dataclass(frozen=True)
class Card:
    """A finished card. page: where its HTML lies."""

    document: Mapping[str, Any]
    answers: Sequence[Answer]
    page: Path

    @property
    def error(self) -> AssayError | None:
        """Why there is no section at all; None where there is one."""
        if any(answer.section for answer in self.answers):
            return None
        return next((answer.error for answer in self.answers if answer.error), None)


def check_up(asked: Sequence[Target], model: str, text: str | None, out: Path) -> Card:
    """Writes the card of `model` into the directory `out`.

    model, text: as `assay.client.inputs` takes them. A service that fails is told of on the card; raises what the
    model or text is refused for, and what keeps the card from being written.
    """
    check_destination(out)
    with board() as progress:
        inputs, refused = _hand_over(asked, model, text, progress)
        ready = [target for target in asked if target.connection not in refused]
        answers = [unasked(target, refused[target.connection]) for target in asked if target not in ready]
        answers += examine_all(ready, inputs.model.digest, inputs.text.digest, progress.add)
    answers.sort(key=lambda answer: answer.service)
    document = card_document(inputs.facts, inputs.text, inputs.text_name, answers)
    plots = {(answer.service, name): svg for answer in answers for name, svg in answer.plots.items()}
    # jinja2 is needed from here on alone.
    from assay.checkup.render import render

    return Card(document, answers, write_card(out, document, render(document, plots)))


@dataclass(frozen=True)
class _Inputs:
    model: Artifact
    text: Artifact
    text_name: str
    facts: ModelFacts


def _hand_over(
    asked: Sequence[Target], model: str, text: str | None, progress: Board
) -> tuple[_Inputs, Mapping[Connection, AssayError]]:
    """Model and text as artifacts of every server, and which servers would not take them."""
    inputs: _Inputs | None = None
    refused: dict[Connection, AssayError] = {}
    for connection in dict.fromkeys(target.connection for target in asked):
        address = next(target.where for target in asked if target.connection is connection)
        try:
            if address:
                connection.check_reachable(address)
            if inputs is None:
                inputs = _take_in(connection, model, text, progress)
            else:
                # A label may point elsewhere there; what was found first is what everyone is asked about.
                same_model = model if Path(model).is_dir() else inputs.model.digest
                same_text = text if text is None or Path(text).is_dir() else inputs.text.digest
                model_artifact(connection.artifacts, same_model, progress=progress.add("model"))
                text_artifact(connection.artifacts, same_text, progress=progress.add("text"))
        except AssayError as error:
            refused[connection] = error
    if inputs is None:
        raise next(iter(refused.values()))
    return inputs, refused


def _take_in(connection: Connection, model: str, text: str | None, progress: Board) -> _Inputs:
    artifacts = connection.artifacts
    found = model_artifact(artifacts, model, progress=progress.add("model"))
    measured_on = text_artifact(artifacts, text, progress=progress.add("text"))
    text_name = STANDARD_LIBRARY if text is None else display_name(text, measured_on)
    return _Inputs(found, measured_on, text_name, model_facts(connection, found, display_name(model, found)))
