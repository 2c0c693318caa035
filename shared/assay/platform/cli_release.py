"""`assay platform install`, `upgrade`, `rollback`, `uninstall`: each shows what it will do, asks, and waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from assay.cli.progress import Meter, board
from assay.cli.session import print_json
from assay.cli.words import plain
from assay.errors import InvalidInput
from assay.platform.api import Cluster
from assay.platform.helm import Target
from assay.platform.options import JSON, TIMEOUT, YES, with_plan, with_target
from assay.platform.preflight import Plan

if TYPE_CHECKING:
    from assay.platform.diff import Change
    from assay.platform.readiness import Part, Wait
    from assay.platform.release import Prepared, Release

COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command()
@with_plan
@TIMEOUT
@YES
@JSON
def install(plan: Plan, timeout: float, yes: bool, as_json: bool) -> None:
    """Installs a release into a namespace of its own, which it makes or which is empty, and waits until it is ready."""
    release = _release(plan)
    prepared = release.prepare_install()
    _agreed(prepared.changes, f"Install {plan.target.release} into {plan.target.namespace}?", yes, as_json)
    with _told() as hear:
        seen = release.install(prepared, timeout, hear)
    _say(plan.target, prepared, seen, "installed", as_json)


@click.command()
@with_plan
@TIMEOUT
@YES
@JSON
def upgrade(plan: Plan, timeout: float, yes: bool, as_json: bool) -> None:
    """Upgrades a release; one that does not get ready in time is rolled back.

    With -f it starts from the chart's own values. Without, the release's values stay and --set goes over them (Helm's
    --reset-then-reuse-values): what the chart sets by default is as the newest chart has it.
    """
    release = _release(plan)
    prepared = release.prepare_upgrade()
    _agreed(prepared.changes, f"Upgrade {plan.target.release} in {plan.target.namespace}?", yes, as_json)
    with _told() as hear:
        seen = release.upgrade(prepared, timeout, hear)
    _say(plan.target, prepared, seen, "upgraded", as_json)


@click.command()
@click.argument("revision", type=click.IntRange(min=1), required=False)
@with_target
@TIMEOUT
@YES
@JSON
def rollback(target: Target, revision: int | None, timeout: float, yes: bool, as_json: bool) -> None:
    """Goes back to REVISION, or to the newest that was ready before and is another than the present one, and waits."""
    from pathlib import Path

    from assay.platform.helm import Values

    release = _release(Plan(target, Path(), Values()))
    prepared = release.prepare_rollback(revision)
    assert prepared.base is not None
    _agreed(prepared.changes, f"Roll {target.release} back to revision {prepared.base.number}?", yes, as_json)
    with _told() as hear:
        seen = release.rollback(prepared, timeout, hear)
    _say(target, prepared, seen, f"back at revision {prepared.base.number}", as_json)


@click.command()
@with_target
@click.option("--delete-data", is_flag=True, help="Delete the volumes that hold its data, too.")
@click.option("--delete-namespace", is_flag=True, help="Delete the namespace, if this tool made it.")
@TIMEOUT
@YES
@JSON
def uninstall(
    target: Target, delete_data: bool, delete_namespace: bool, timeout: float, yes: bool, as_json: bool
) -> None:
    """Removes a release and nothing else; its data stay unless told otherwise."""
    from assay.platform.removal import prepare_removal, remove

    cluster = Cluster.connect(target.kubeconfig, target.context)
    removal = prepare_removal(cluster, target, delete_data=delete_data, delete_namespace=delete_namespace)
    goes = [f"- {kind}/{name}" for kind, name in removal.objects]
    stays = [f"  PersistentVolumeClaim/{name} stays" for name in removal.volumes]
    if delete_data:
        goes += [f"- PersistentVolumeClaim/{name}, with its data" for name in removal.volumes]
        stays = []
    if delete_namespace:
        goes.append(f"- Namespace/{target.namespace}")
    if not as_json:
        for line in (*goes, *stays):
            click.secho(plain(line), fg="red" if line.startswith("-") else None)
    _ask(f"Uninstall {target.release} from {target.namespace}?", yes, as_json)
    remove(cluster, target, removal, timeout_s=timeout)
    document = {"release": target.release, "namespace": target.namespace, **asdict(removal)}
    _emit(document, f"{target.release} is removed from {target.namespace}", as_json)


def _release(plan: Plan) -> Release:
    from assay.platform.release import Release

    return Release(plan, Cluster.connect(plan.target.kubeconfig, plan.target.context))


def _agreed(changes: Sequence[Change], question: str, yes: bool, as_json: bool) -> None:
    """Shows what changes and asks; click.Abort where the answer is no."""
    if not as_json:
        for change in changes:
            if change.verb == "create":
                click.secho(plain(f"+ {change.kind}/{change.name}"), fg="green")
            elif change.verb == "delete":
                click.secho(plain(f"- {change.kind}/{change.name}"), fg="red")
            else:
                for line in change.text.splitlines():
                    click.secho(plain(line), fg=COLOURS.get(line[:1]))
        counted: Counter[str] = Counter(change.verb for change in changes)
        verbs = (("create", "new"), ("change", "changed"), ("delete", "removed"), ("same", "as they are"))
        click.echo(", ".join(f"{counted[verb]} {word}" for verb, word in verbs if counted[verb]))
    _ask(question, yes, as_json)


def _ask(question: str, yes: bool, as_json: bool) -> None:
    if yes:
        return
    if as_json:
        raise InvalidInput("--json", "cannot ask; add --yes")
    click.confirm(question, abort=True)


@contextmanager
def _told() -> Iterator[Callable[[Sequence[Part]], None]]:
    """Progress of each part, as it is looked at."""
    with board() as tasks:
        meters: dict[str, Meter] = {}
        finished: set[str] = set()

        def hear(parts: Sequence[Part]) -> None:
            for part in parts:
                if part.name not in meters:
                    meters[part.name] = tasks.add(part.name)
                if not part.done:
                    finished.discard(part.name)
                    meters[part.name](part.ready, part.wanted, part.note)
                elif part.name not in finished:
                    finished.add(part.name)
                    meters[part.name].finish("ready")

        yield hear


def _say(target: Target, prepared: Prepared, seen: Wait, what: str, as_json: bool) -> None:
    document: dict[str, Any] = {
        "release": target.release,
        "namespace": target.namespace,
        "seconds": round(seen.seconds, 1),
        "changes": [asdict(change) for change in prepared.changes],
        "parts": [asdict(part) for part in seen.parts],
        "gaps": seen.gaps,
    }
    gaps = f"; meanwhile {', '.join(seen.gaps)} did not serve" if seen.gaps else ""
    text = f"{target.release} is {what}, and all its {len(seen.parts)} parts are ready{gaps}"
    _emit(document, text, as_json)


def _emit(document: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        click.echo(plain(text))
