"""`assay platform`: the services on a Kubernetes cluster."""

from __future__ import annotations

import dataclasses

import click

from assay.cli.session import print_json
from assay.cli.tables import print_table
from assay.platform.api import Cluster
from assay.platform.cli_release import install, rollback, uninstall, upgrade
from assay.platform.finding import failed
from assay.platform.helm import Target
from assay.platform.options import JSON, Memory, with_plan
from assay.platform.preflight import Plan

NOT_READY = 5


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


for each in (install, upgrade, rollback, uninstall):
    platform.add_command(each)
