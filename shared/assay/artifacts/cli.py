"""`assay artifacts`: what is stored, and how it came about."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.cli.arguments import REFERENCE
from assay.cli.session import CommandSession, command
from assay.cli.tables import print_table
from assay.cli.words import plain
from assay.errors import InvalidInput

if TYPE_CHECKING:
    from rich.tree import Tree

    from assay.artifacts.manifest import Artifact

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@click.group()
def artifacts() -> None:
    """Models, texts, statistics, plans and reports: immutable, named by their hash."""


def document_of(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "digest": artifact.digest,
        "kind": manifest.kind,
        "size_bytes": artifact.size_bytes,
        "files": [{"path": f.path, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in manifest.files],
        "inputs": list(manifest.inputs),
        "parameters": dict(manifest.parameters),
        "versions": dict(manifest.versions),
    }


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


@command(artifacts, "ls")
@click.option("--kind", help="Only this kind, for example model.")
def list_artifacts(session: CommandSession, kind: str | None) -> None:
    """Lists artifacts."""
    with session.connection() as connection:
        found = list(connection.artifacts.list(kind))

    rows = [(_short(a.digest), a.manifest.kind, len(a.manifest.files), _size(a.size_bytes)) for a in found]
    document = {"artifacts": [document_of(artifact) for artifact in found]}
    columns = ("artifact", "kind", "files", "size")
    session.emit(document, lambda: print_table(columns, rows, right=("files", "size")))


@command(artifacts, "show")
@click.argument("reference", type=REFERENCE)
def show(session: CommandSession, reference: str) -> None:
    """Shows an artifact's files, inputs and parameters. REFERENCE: digest, prefix or label."""
    with session.connection() as connection:
        artifact = connection.artifacts.get(reference)
    document = document_of(artifact)

    def human() -> None:
        click.echo(f"{artifact.digest}  {artifact.manifest.kind}  {_size(artifact.size_bytes)}")
        for file in artifact.manifest.files:
            click.echo(plain(f"  {file.path}  {_size(file.size_bytes)}  {file.sha256[:12]}"))
        for name in ("inputs", "parameters", "versions"):
            if document[name]:
                click.echo(plain(f"{name}: {json.dumps(document[name], indent=2, ensure_ascii=False)}"))

    session.emit(document, human)


@command(artifacts, "get")
@click.argument("reference", type=REFERENCE)
@click.argument("destination", type=click.Path(path_type=Path))
def get(session: CommandSession, reference: str, destination: Path) -> None:
    """Copies an artifact's files to the new directory DESTINATION."""
    with session.connection() as connection, session.progress("fetching") as progress:
        connection.artifacts.download(reference, destination, progress=progress)
    session.emit({"destination": str(destination)}, lambda: click.echo(destination))


@command(artifacts, "put")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--kind", required=True, help="What it is: model, text, ...")
@click.option("--label", help="A name to point at it.")
def put(session: CommandSession, source: Path, kind: str, label: str | None) -> None:
    """Stores the directory or file SOURCE and prints its digest."""
    with session.connection() as connection:
        with session.progress("storing") as progress:
            digest = connection.artifacts.put(kind, source, progress=progress)
        if label:
            current = connection.artifacts.label(label)
            connection.artifacts.set_label(label, digest, current.version if current else None)
    session.emit({"digest": digest, "label": label}, lambda: click.echo(digest))


def _grow(tree: Tree, digest: str, found: Mapping[str, Artifact], shown: set[str]) -> None:
    """Adds the inputs of an artifact below it; what was shown already is named again without its own inputs."""
    for source in found[digest].manifest.inputs:
        inputs = found[source].manifest.inputs
        repeated = "  (see above)" if source in shown and inputs else ""
        branch = tree.add(f"{_short(source)}  {found[source].manifest.kind}{repeated}")
        if not repeated:
            shown.add(source)
            _grow(branch, source, found, shown)


@command(artifacts, "lineage")
@click.argument("reference", type=REFERENCE)
def lineage(session: CommandSession, reference: str) -> None:
    """Shows what an artifact was made from, back to the beginning."""
    with session.connection() as connection:
        found = {artifact.digest: artifact for artifact in connection.artifacts.lineage(reference)}
    root = list(found)[-1]

    def human() -> None:
        from rich.console import Console
        from rich.tree import Tree

        tree = Tree(f"{_short(root)}  {found[root].manifest.kind}")
        _grow(tree, root, found, set())
        Console().print(tree)

    session.emit({"artifacts": [document_of(artifact) for artifact in found.values()]}, human)


@artifacts.command("gc")
@click.option("--grace", default="24h", show_default=True, help="Keep what is younger: 30m, 24h, 7d.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def collect(grace: str, dry_run: bool, as_json: bool) -> None:
    """Deletes artifacts that no label, operation or newer artifact needs. Works on the store itself (ASSAY_STORE)."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", grace)
    if matched is None:
        raise InvalidInput("--grace", "is no duration; write a number and s, m, h or d, such as 24h")
    session = CommandSession("", None, as_json)
    store = session.config.open_artifacts()
    report = store.collect_garbage(grace_s=float(matched[1]) * UNITS[matched[2]], dry_run=dry_run)
    verb = "would remove" if report.dry_run else "removed"
    text = (
        f"{verb} {report.artifacts_removed} artifacts and {report.blobs_removed} blobs "
        f"({_size(report.bytes_removed)}); {report.artifacts_kept} artifacts stay"
    )
    session.emit(asdict(report), lambda: click.echo(text))
