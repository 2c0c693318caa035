"""Options that the deploy tool's commands share."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from assay.errors import InvalidInput
from assay.platform.helm import Target, Values, find_chart
from assay.platform.preflight import Plan

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """Seconds, written as 90s, 10m or 1h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        matched = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(value))
        if matched is None:
            raise InvalidInput(
                param.opts[0] if param else "", "is no duration; write a number and s, m or h, such as 10m"
            )
        return float(matched[1]) * UNITS[matched[2]]


class Memory(click.ParamType[int]):
    """Bytes, written as Kubernetes does: 40Gi."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        matched = re.fullmatch(r"(\d+)(Mi|Gi)", str(value))
        if matched is None:
            raise InvalidInput(param.opts[0] if param else "", "is no amount of memory; write e.g. 40Gi")
        return int(matched[1]) * {"Mi": 2**20, "Gi": 2**30}[matched[2]]


TIMEOUT = click.option(
    "--timeout", type=Duration(), default="10m", show_default=True, help="How long it may take to become ready."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")


def with_target(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options that say which release; it gets a Target first."""

    @click.option("--release", default="assay", show_default=True, help="The release's name.")
    @click.option("--namespace", "-n", default="assay", show_default=True, help="The namespace, the release's own.")
    @click.option("--context", help="Entry of the kubeconfig; its current one by default.")
    @click.option(
        "--kubeconfig", type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="How to reach the cluster; KUBECONFIG or ~/.kube/config by default.",
    )  # fmt: skip
    @functools.wraps(function)
    def run(
        *arguments: Any, release: str, namespace: str, context: str | None, kubeconfig: Path | None, **more: Any
    ) -> Any:
        return function(Target(release, namespace, kubeconfig, context), *arguments, **more)

    return run


def with_plan(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options that say what is installed where; it gets a Plan first."""

    @click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="One value, over the files; repeatable.")
    @click.option(
        "--values", "-f", "files", multiple=True, type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="A file of values, over the chart's own; repeatable.",
    )  # fmt: skip
    @click.option(
        "--chart",
        type=click.Path(path_type=Path, exists=True),
        help="The chart; by default charts/assay of the checkout.",
    )
    @with_target
    @functools.wraps(function)
    def run(
        target: Target, *arguments: Any, chart: Path | None, files: tuple[Path, ...], sets: tuple[str, ...], **more: Any
    ) -> Any:
        return function(Plan(target, find_chart(chart), Values(files, sets)), *arguments, **more)

    return run
