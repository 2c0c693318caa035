"""`assay platform`: the services on a Kubernetes cluster."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click

from assay.cli.session import print_json
from assay.cli.tables import print_table
from assay.cli.words import plain
from assay.platform.api import Cluster
from assay.platform.cli_release import install, rollback, uninstall, upgrade
from assay.platform.finding import failed
from assay.platform.helm import Target
from assay.platform.options import JSON, Duration, Memory, with_plan, with_target
from assay.platform.preflight import Plan

# As assay.cli.exit_codes has them.
NOT_READY, UNAVAILABLE = 5, 9


@click.group()
def platform() -> None:
    """Deploys to Kubernetes, with Helm: looks first, shows what changes, waits until all is ready.

    Touches no namespace but the release's own.
    """


def connect(target: Target) -> Cluster:
    return Cluster.connect(target.kubeconfig, target.context)


@platform.command("preflight")
@with_plan
@click.option("--gpu-memory", type=Memory(), default="0Mi", help="What a replica needs of one GPU, e.g. 40Gi.")
@JSON
def preflight_command(plan: Plan, gpu_memory: int, as_json: bool) -> int:
    """Says what the cluster lacks, each finding with its remedy. Exit code 5 where an installation would fail."""
    from assay.platform.preflight import preflight

    findings = preflight(dataclasses.replace(plan, gpu_memory=gpu_memory), connect(plan.target))
    wrong = failed(findings)
    if as_json:
        print_json({"ok": not wrong, "findings": [dataclasses.asdict(each) for each in findings]})
    else:
        rows = [(each.result, each.name, each.found, each.remedy) for each in findings]
        print_table(("", "check", "found", "remedy"), rows)
        warned = sum(each.result == "warn" for each in findings)
        click.echo(f"{len(findings)} checks: {len(wrong)} failed, {warned} warnings")
    return NOT_READY if wrong else 0


@platform.command("status")
@with_target
@JSON
def status_command(target: Target, as_json: bool) -> None:
    """Shows fronts, Serve applications, GPUs and open operations of a release."""
    from assay.platform.status import NONE, status

    rows, notes = status(connect(target), target)
    if as_json:
        print_json({"rows": [dataclasses.asdict(row) for row in rows], "notes": notes})
        return
    columns = ("part", "what", "ready", "state", "image", "restarts", "open operations")
    cells = []
    for row in rows:
        open_ones = f"{NONE} {row.why}".strip() if row.operations is None else row.operations
        cells.append((row.part, row.what, f"{row.ready}/{row.wanted}", row.state, row.image, row.restarts, open_ones))
    print_table(columns, cells, right=("ready", "restarts"))
    for note in notes:
        click.echo(plain(note), err=True)


@platform.command("smoke")
@with_target
@click.option("--address", default="", metavar="HOST:PORT", help="Where callers reach the services.")
@click.option("--timeout", type=Duration(), default="1m", show_default=True, help="How long they may take to answer.")
@JSON
def smoke_command(target: Target, address: str, timeout: float, as_json: bool) -> int:
    """Calls every service the way callers do: at --address, at the Gateway, or else at a port forwarded here.

    Over TLS with ASSAY_TLS_CA, ASSAY_TLS_CLIENT_CERT and ASSAY_TLS_CLIENT_KEY. Exit code 9 where one does not answer.
    """
    from assay.platform.smoke import smoke

    answers = smoke(connect(target), target, address=address, timeout_s=timeout)
    good = all(answer.ok for answer in answers)
    if as_json:
        print_json({"ok": good, "services": [dataclasses.asdict(answer) for answer in answers]})
    else:
        rows = [(a.service, "ok" if a.ok else "fail", a.said, f"{a.ms:.0f}", a.how) for a in answers]
        print_table(("service", "", "answer", "ms", "by"), rows, right=("ms",))
    return 0 if good else UNAVAILABLE


@platform.command("bundle")
@with_target
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="The file; assay-RELEASE-TIME.tar.gz here by default."
)
@JSON
def bundle_command(target: Target, output: Path | None, as_json: bool) -> None:
    """Packs objects, events, logs and versions for a bug report, with secrets removed. Read it before sending it."""
    from assay.platform.bundle import bundle

    file = output or Path(f"assay-{target.release}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    names = bundle(connect(target), target, file)
    if as_json:
        print_json({"file": str(file), "names": names})
    else:
        click.echo(plain(f"{file}: {len(names)} files; secrets are taken out by name, form and value, read it still"))


for each in (install, upgrade, rollback, uninstall):
    platform.add_command(each)
