"""What Helm says after an installation: a command that calls something, by the transport's own rules."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from charts.rendering import CHART, Combination, of_kind, parsed, run_helm

# Helm prints notes only where there is a cluster: here they are an object's text.
SHOWN = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {text: {{ include "notes" . | quote }}}\n'


@pytest.fixture
def notes(helm: Path, tmp_path: Path) -> Any:
    chart = tmp_path / "assay"
    shutil.copytree(CHART, chart)
    text = (chart / "templates/NOTES.txt").read_text()
    (chart / "templates/_notes.tpl").write_text('{{ define "notes" }}' + text + "{{ end }}")
    (chart / "templates/notes.yaml").write_text(SHOWN)

    def said(*files: str, **sets: Any) -> str:
        ran = run_helm(helm, Combination.of("notes", files or ("laptop",), **sets), chart)
        assert ran.returncode == 0, ran.stderr
        return str(of_kind(parsed(ran.stdout), "ConfigMap")["notes"]["data"]["text"])

    return said


def test_the_next_command_calls_a_front(notes: Any) -> None:
    text = notes()
    assert "port-forward service/trial-assay-moe-router 50051" in text
    assert "ASSAY_ENDPOINT=127.0.0.1:50051 assay operations ls" in text
    assert "ASSAY_TLS" not in text


def test_with_certificates_it_says_which_and_goes_by_the_front_s_name(notes: Any) -> None:
    text = notes("gpu")
    for name in ("ASSAY_TLS_CA", "ASSAY_TLS_CLIENT_CERT", "ASSAY_TLS_CLIENT_KEY"):
        assert f"{name}=" in text
    # A forwarded port is none of the certificate's names; the deploy tool asks for the front's.
    assert "assay platform smoke --release trial --namespace assay" in text
    assert "127.0.0.1" not in text


def test_in_a_mesh_it_is_called_from_a_pod_of_the_mesh(notes: Any) -> None:
    text = notes(transport="mesh")
    assert "ASSAY_ENDPOINT=trial-assay-moe-router.assay:50051 assay operations ls" in text
    assert "127.0.0.1" not in text


@pytest.mark.parametrize(
    ("files", "sets", "open_ones"),
    [
        (("laptop",), {}, {"apiServerCidr"}),
        (("gpu",), {}, {"storeCidr", "apiServerCidr"}),
        (
            ("gpu", "ha"),
            {"networkPolicy__redisNamespace": "", "telemetry__otlpEndpoint": "http://a:4317"},
            {"storeCidr", "apiServerCidr", "redisNamespace", "otlpNamespace"},
        ),
        (("gpu",), {"networkPolicy__storeCidr": "10.1.0.0/16", "networkPolicy__apiServerCidr": "10.0.0.1/32"}, set()),
        (("laptop",), {"networkPolicy__enabled": False}, set()),
    ],
)
def test_openings_to_anywhere_are_told(notes: Any, files: tuple[str, ...], sets: Any, open_ones: set[str]) -> None:
    text = notes(*files, **sets)
    every = ("storeCidr", "apiServerCidr", "redisNamespace", "otlpNamespace")
    assert {name for name in every if f"networkPolicy.{name}" in text} == open_ones
