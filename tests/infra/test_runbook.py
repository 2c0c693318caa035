"""Every command of RUNBOOK.md and TROUBLE.md names what the chart really makes, and every alert has its part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from charts.rendering import Object, of_kind

from assay.cli.main import cli
from infra.rendering import INFRA, NAMESPACE, RELEASE, REPOSITORY, manifests, render_release, values
from infra.shell import commands

RUNBOOK, TROUBLE = ((INFRA / f"{name}.md").read_text() for name in ("RUNBOOK", "TROUBLE"))
COMMANDS = list(commands(RUNBOOK + TROUBLE))
OTHERS = {"helm", "kubectl", "assay", "mc", "for", "grep", "export", "base64", "openssl", "date"}
KINDS = {
    "certificate": "Certificate",
    "deployment": "Deployment",
    "events": "Event",
    "hpa": "HorizontalPodAutoscaler",
    "job": "Job",
    "namespace": "Namespace",
    "node": "Node",
    "nodes": "Node",
    "pod": "Pod",
    "pods": "Pod",
    "pvc": "PersistentVolumeClaim",
    "raycluster": "RayCluster",
    "rayservice": "RayService",
    "secret": "Secret",
    "service": "Service",
    "statefulset": "StatefulSet",
}
RAY_NODE = {"ray.io/is-ray-node": "yes"}
# Named by the release that the add-ons' README installs.
ADD_ONS = {("Deployment", "kuberay-operator", "kuberay-operator"), ("Deployment", "cert-manager", "cert-manager")}

Known = dict[tuple[str, str, str], dict[str, str]]  # (kind, namespace, name) to labels


@pytest.fixture(scope="module")
def known(helm: Path) -> Known:
    """What is in a cluster with the chart installed as a trial and in earnest, and with its Redis."""
    objects = [
        *render_release(helm, *values("laptop"), "--set", "minio.storageClass=fast"),
        *render_release(helm, *values("gpu", "ha", "infra/addons/assay-values.yaml")),
        *manifests(INFRA / "addons/redis.yaml"),
    ]
    found: Known = {(kind, namespace, name): {} for kind, namespace, name in ADD_ONS}
    for each in objects:
        for kind, name, labels in made_of(each):
            found[kind, each["metadata"].get("namespace", NAMESPACE), name] = labels
    return found


def made_of(found: Object) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(kind, name, labels) of an object, and of what controllers make of it."""
    kind, name, labels = found["kind"], found["metadata"]["name"], found["metadata"].get("labels", {})
    yield kind, name, labels
    match kind:
        case "Deployment" | "StatefulSet":
            yield "Pod", f"{name}-", found["spec"]["template"]["metadata"]["labels"]
            for volume in found["spec"].get("volumeClaimTemplates", []):
                yield "PersistentVolumeClaim", f"{volume['metadata']['name']}-{name}-0", {}
        case "RayService":
            cluster = found["spec"]["rayClusterConfig"]
            yield "RayCluster", f"{name}-", labels
            groups = {"head": cluster["headGroupSpec"], "worker": cluster["workerGroupSpecs"][0]}
            for node, group in groups.items():
                pod = {**group["template"]["metadata"]["labels"], **RAY_NODE, "ray.io/node-type": node}
                yield "Pod", f"{name}-{node}-", pod
        case "Certificate":
            yield "Secret", found["spec"]["secretName"], {}
    for secret in re.findall(r"'secretKeyRef': {'key': '\w+', 'name': '([\w-]+)'}", str(sorted_deep(found))):
        yield "Secret", secret, {}


def sorted_deep(found: object) -> object:
    if isinstance(found, dict):
        return {key: sorted_deep(found[key]) for key in sorted(found)}
    return [sorted_deep(each) for each in found] if isinstance(found, list) else found


def is_open(word: str) -> bool:
    """A word that the reader fills in, or the shell."""
    return "$" in word or word == "NESTED" or re.fullmatch(r"[A-Z]+", word) is not None


def of_program(name: str) -> list[list[str]]:
    return [words[1:] for words in COMMANDS if words[0] == name]


def test_it_has_commands_of_all_three() -> None:
    assert len(of_program("kubectl")) > 40
    assert len(of_program("helm")) > 5
    assert len(of_program("assay")) > 10
    assert {words[0] for words in COMMANDS if "=" not in words[0]} <= OTHERS


@pytest.mark.parametrize("words", of_program("kubectl"), ids=" ".join)
def test_kubectl_s_objects_are_there(known: Known, words: list[str]) -> None:
    assert_kubectl(known, words)


@pytest.mark.parametrize(
    "wrong",
    [
        "-n assay delete secret assay-moe-router-cert",
        "-n assay delete pod --selector=app.kubernetes.io/instance=assay,ray.io/node-type=haed",
        "-n assay rollout restart deployment --selector=app.kubernetes.io/component=fronts",
        "-n assay exec deployment/moe-router -- assay operations ls",
        "-n assay patch pvc assay-minio-data --type=merge",
        "-n default get rayservice assay-moe-router-engine",
        "-n assay-redis rollout restart statefulset/assay-redis",
        "-n assay create secret generic assay-s4 --from-literal=accessKey=...",
        "apply --filename=infra/addons/rediss.yaml",
        "-n assay get rayservices.ray.io",
    ],
)
def test_wrong_ones_would_be_noticed(known: Known, wrong: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        assert_kubectl(known, wrong.split())


def assert_kubectl(known: Known, words: list[str]) -> None:
    namespace, words = (words[1], words[2:]) if words[0] == "-n" else ("", words)
    options = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
    words = words[: words.index("--")] if "--" in words else words
    verb, *rest = [word for word in words if not word.startswith("-")]
    if verb == "rollout":
        verb, *rest = rest
    if verb == "create":
        assert_created(known, namespace, rest)
    elif verb == "apply":
        assert options["--filename"] == "-" or (REPOSITORY / options["--filename"]).is_file()
    elif verb in ("cordon", "drain"):
        assert rest == ["NODE"]
    elif verb == "logs" and not rest:
        assert_selected(known, "Pod", namespace, options["--selector"])
    elif not is_open(rest[0]):
        assert_named(known, namespace, rest, options)


def assert_created(known: Known, namespace: str, words: Sequence[str]) -> None:
    if words[0] == "namespace":
        assert words[1:] == [NAMESPACE]
    else:
        assert words[:2] == ["secret", "generic"]
        assert is_open(namespace) or ("Secret", namespace, words[2]) in known


def assert_named(known: Known, namespace: str, words: Sequence[str], options: dict[str, str]) -> None:
    first, *names = words
    if "/" in first:
        first, name = first.split("/")
        names = [name]
    kinds = [KINDS[word] for word in first.split(",")]
    for kind in kinds:
        if kind not in ("Node", "Event"):
            assert namespace in {each for _, each, _ in known} | {"kuberay-operator", "cert-manager"}
        if "--selector" in options:
            assert_selected(known, kind, namespace, options["--selector"])
        for name in names:
            if not is_open(name) and name != "9000" and not name.startswith("node.kubernetes.io/"):
                assert (kind, namespace, name) in known


def assert_selected(known: Known, kind: str, namespace: str, selector: str) -> None:
    wanted = dict(pair.split("=") for pair in selector.split(",")).items()
    found = [labels for (each, where, _), labels in known.items() if (each, where) == (kind, namespace)]
    assert any(wanted <= labels.items() for labels in found), f"no {kind} of {namespace} has {selector}"


@pytest.mark.parametrize("words", of_program("helm"), ids=" ".join)
def test_helm_s_commands_render_and_name_the_release(helm: Path, words: list[str]) -> None:
    verb, *rest = words
    if verb == "repo":
        return
    rest = [word for word in rest if word != "--install"]
    assert rest[0] == RELEASE
    assert rest[rest.index("--namespace") + 1] == NAMESPACE
    if verb != "upgrade":
        assert verb in ("history", "rollback", "test", "uninstall")
        return
    assert rest[1] == "charts/assay"
    arguments = [word.replace("s3://COPY", "s3://copy") for word in rest[2:] if word not in ("--namespace", NAMESPACE)]
    assert of_kind(render_release(helm, *arguments), "RayService")


@pytest.mark.parametrize("words", of_program("assay"), ids=" ".join)
def test_assay_s_commands_are_there(words: list[str]) -> None:
    group: click.Command = cli
    context = click.Context(cli)
    while isinstance(group, click.Group):
        word, *words = words
        following = group.get_command(context, word)
        assert following is not None, word
        group = following
    group.make_context(word, list(words))  # refuses options and arguments that it does not know


def test_every_alert_has_its_part(helm: Path) -> None:
    (rules,) = of_kind(render_release(helm, *values("gpu")), "PrometheusRule").values()
    alerts = [rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    parts = TROUBLE[TROUBLE.index("## Alerts") :]
    assert re.findall(r"^### (.*)$", parts, re.MULTILINE) == alerts
    for part in re.split(r"^### .*$", parts, flags=re.MULTILINE)[1:]:
        assert "```sh" in part  # something to look with


def test_what_it_says_of_patience_is_what_the_code_does() -> None:
    from assay.engine.serve_wire import SILENCE_S
    from assay.operations.lease import LEASE_S
    from assay.operations.patience import RETRIES, RETRY_FIRST_S, RETRY_MOST_S
    from assay.operations.runner import MAX_RUNNING

    wait_s = sum(min(RETRY_MOST_S, RETRY_FIRST_S * 2**attempt) for attempt in range(RETRIES))
    assert 13 * 60 < wait_s < 16 * 60  # "about a quarter of an hour"
    assert LEASE_S == 10
    assert f"hears nothing of an engine for {SILENCE_S:.0f} s" in " ".join(RUNBOOK.split())
    assert f"a front runs {MAX_RUNNING} operations at a time" in TROUBLE
