"""What a real API server does not do on demand: slow, stumbling, of another version, no API server at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import yaml
from conftest import REPOSITORY, free_port

from assay.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable
from assay.platform import api, readiness
from assay.platform.api import Cluster
from assay.platform.bundle import bundle
from assay.platform.checks.server import as_numbers, speed, version
from assay.platform.finding import Finding
from assay.platform.helm import Helm, Target, Values
from assay.platform.preflight import Plan, _guarded, _helm, preflight
from assay.platform.readiness import Part, Watch
from assay.platform.smoke import smoke
from assay.platform.status import status
from assay.platform.survey import Survey
from assay.platform.workloads import Rendered

Answer = Callable[[int], tuple[int, object]]
VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.1"}


class Fake:
    """Speaks as `answer` says for the n-th request, from 0; counts what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(f"{self.command} {self.path}")
                status, body = answer(len(fake.asked) - 1)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with suppress(BrokenPipeError):  # of whom waits no longer
                    self.wfile.write(data)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


def kubeconfig(folder: Path, address: str) -> Path:
    file = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.fixture
def faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], tuple[Fake, Cluster]]]:
    monkeypatch.setattr(api, "PAUSES_S", (0.0, 0.0, 0.0))
    made: list[Fake] = []

    def make(answer: Answer) -> tuple[Fake, Cluster]:
        fake = Fake(answer)
        threading.Thread(target=fake.server.serve_forever, args=(0.02,), daemon=True).start()
        made.append(fake)
        return fake, Cluster.connect(kubeconfig(tmp_path, fake.address))

    yield make
    for fake in made:
        fake.server.shutdown()
        fake.server.server_close()


def survey(cluster: Cluster) -> Survey:
    return Survey(cluster, Target("r", "n"), Rendered([]), least="1.34", tested="1.37")


def test_a_server_that_stumbles_is_asked_again_and_says_so(faked, capsys: pytest.CaptureFixture[str]):
    fake, cluster = faked(lambda n: (503, {"message": "etcd leader changed"}) if n < 3 else (200, VERSION))
    assert cluster.version["gitVersion"] == "v1.36.1"
    assert len(fake.asked) == 4
    assert capsys.readouterr().err.count("answers 503: etcd leader changed; trying again") == 3


def test_after_four_tries_it_gives_up(faked):
    fake, cluster = faked(lambda n: (500, {"message": "no"}))
    with pytest.raises(Unavailable, match="answers 500: no"):
        cluster.get("/api")
    assert len(fake.asked) == 4


def test_what_may_have_been_done_is_not_sent_again(faked):
    fake, cluster = faked(lambda n: (500, {"message": "no"}))
    with pytest.raises(Unavailable):
        cluster.create("/api/v1/namespaces", {"kind": "Namespace"})
    assert len(fake.asked) == 1


def test_too_many_requests_reached_nobody(faked):
    fake, cluster = faked(lambda n: (429, {"message": "slow down"}) if n < 1 else (201, {"kind": "Namespace"}))
    assert cluster.create("/api/v1/namespaces", {"kind": "Namespace"}) == {"kind": "Namespace"}
    assert len(fake.asked) == 2


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (409, AlreadyExists)])
def test_a_refusal_is_final(faked, status: int, kind: type[Exception]):
    fake, cluster = faked(lambda n: (status, {"message": "so it is"}))
    with pytest.raises(kind, match="so it is"):
        cluster.get("/api")
    assert len(fake.asked) == 1


def test_lists_come_in_pages(faked):
    pages = [{"items": [{"n": 1}], "metadata": {"continue": "a b"}}, {"items": [{"n": 2}], "metadata": {}}]
    fake, cluster = faked(lambda n: (200, pages[n]))
    assert [each["n"] for each in cluster.list("/api/v1/nodes", labelSelector="a=b")] == [1, 2]
    assert fake.asked[1] == "GET /api/v1/nodes?limit=500&continue=a+b&labelSelector=a%3Db"


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b'{"hello": 1}', b"[]"])
def test_something_else_answers(faked, body: bytes):
    _, cluster = faked(lambda n: (200, body))
    with pytest.raises(FailedPrecondition, match="is no Kubernetes API server"):
        _ = cluster.version


@pytest.mark.parametrize(
    ("found", "result"), [("v1.33.9", "fail"), ("v1.34.0-gke.1", "ok"), ("v1.37.2+k3s1", "ok"), ("v1.38.0", "warn")]
)
def test_versions(faked, found: str, result: str):
    _, cluster = faked(lambda n: (200, VERSION | {"gitVersion": found}))
    assert [each.result for each in version(survey(cluster))] == [result]


@pytest.mark.parametrize(
    ("text", "numbers"), [("v1.37.2+k3s1", (1, 37)), ("v1.6.0", (1, 6)), ("1.34+", (1, 34)), ("nightly", ())]
)
def test_the_numbers_of_a_version(text: str, numbers: tuple[int, ...]):
    assert as_numbers(text) == numbers


@pytest.mark.parametrize(
    ("found", "result"), [("v3.13.3", "fail"), ("v3.14.0+gc309b6f", "ok"), ("v3.22", "ok"), ("v4.0.1", "warn")]
)
def test_versions_of_helm(found: str, result: str):
    assert _helm(cast(Helm, SimpleNamespace(version=lambda: found))).result == result


@pytest.mark.usefixtures("helm_there")
def test_records_anywhere_but_in_secrets_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HELM_DRIVER", "configmap")
    with pytest.raises(FailedPrecondition, match=r"HELM_DRIVER is configmap.*unset it"):
        Helm(Target("r", "n"))


def test_a_slow_server_is_warned_of(faked, monkeypatch: pytest.MonkeyPatch):
    from assay.platform.checks import server

    monkeypatch.setattr(server, "SLOW_S", 0.05)
    _, cluster = faked(lambda n: (200, (time.sleep(0.1), VERSION)[1]))
    _ = cluster.version
    assert [each.result for each in speed(survey(cluster))] == ["warn"]


@pytest.mark.usefixtures("helm_there")
def test_a_silent_server_is_not_waited_for(faked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "READ_S", 0.1)
    release = threading.Event()
    fake, cluster = faked(lambda n: (200, (release.wait(5), VERSION)[1]))
    found = look(cluster)
    release.set()
    assert found.name == "API server"
    assert "gave no answer" in found.found
    assert len(fake.asked) == 4


@pytest.mark.parametrize("ends", ["silent", "refuses"])
def test_whoever_waits_goes_on_when_the_server_falls_silent_or_a_token_expires(
    faked, monkeypatch: pytest.MonkeyPatch, ends: str
):
    """Otherwise an upgrade would end there, and nobody would roll it back."""
    monkeypatch.setattr(api, "READ_S", 0.1)
    monkeypatch.setattr(readiness, "POLL_S", 0.0)
    status = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 0}
    starting = {"kind": "Deployment", "metadata": {"name": "front"}, "spec": {"replicas": 1}, "status": status}
    ready = starting | {"status": status | {"availableReplicas": 1}}
    served = {"resources": [{"kind": "Deployment", "name": "deployments", "namespaced": True}]}
    over = threading.Event()
    tries = 4 if ends == "silent" else 1  # a refusal is final

    def answer(n: int) -> tuple[int, object]:
        if 2 <= n < 2 + tries:
            return (200, (over.wait(5), {})[1]) if ends == "silent" else (401, {"message": "Unauthorized"})
        return 200, (served, starting)[n] if n < 2 else ready

    _, cluster = faked(answer)
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "front"}}
    heard: list[list[tuple[int, bool]]] = []

    def hear(parts: Sequence[Part]) -> None:
        heard.append([(part.ready, part.done) for part in parts])

    watch = Watch(cluster, Target("r", "n"), Rendered([made]), hear)
    seen = watch.until_ready(30)
    over.set()
    assert seen.ready
    assert heard == [[(0, False)], [(0, False)], [(1, True)]]


def look(cluster: Cluster) -> Finding:
    """The one finding of a cluster that cannot be asked further."""
    (found,) = preflight(Plan(Target("r", "n"), REPOSITORY / "charts/assay", Values()), cluster)
    assert found.result == "fail"
    assert found.remedy
    return found


@pytest.fixture
def helm_there(tool: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tool("helm").parent), prepend=":")


@pytest.mark.usefixtures("helm_there")
@pytest.mark.parametrize("look", [status, smoke, lambda cluster, target: bundle(cluster, target, Path("x.tar.gz"))])
def test_without_a_server_every_look_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[Cluster, Target], object]
):
    monkeypatch.setattr(api, "PAUSES_S", ())
    monkeypatch.chdir(tmp_path)
    config = kubeconfig(tmp_path, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="cannot be reached; check the address and the network"):
        look(Cluster.connect(config), Target("r", "n", config))
    assert [file.name for file in tmp_path.iterdir()] == ["kubeconfig"]


def test_an_object_of_another_shape_ends_one_check_only():
    def odd(survey: Survey) -> Iterator[Finding]:
        yield Finding("first", "ok", "seen before")
        raise KeyError("allocatable")

    nobody = cast(Survey, None)
    seen, found = _guarded("nodes", odd, nobody)
    assert seen.name == "first"
    assert (found.name, found.result) == ("nodes", "warn")
    assert "KeyError: 'allocatable'" in found.found
    assert found.remedy


@pytest.mark.usefixtures("helm_there")
def test_preflight_of_no_cluster_is_one_finding(faked, tmp_path: Path):
    _, cluster = faked(lambda n: (200, b"<html>"))
    assert "no Kubernetes API server" in look(cluster).found
    _, cluster = faked(lambda n: (401, {"message": "Unauthorized"}))
    assert "log in again" in look(cluster).found
    cluster = Cluster.connect(kubeconfig(tmp_path, f"https://127.0.0.1:{free_port()}"))
    assert "cannot be reached" in look(cluster).found
    fake, _ = faked(lambda n: (200, VERSION))
    cluster = Cluster.connect(kubeconfig(tmp_path, fake.address.replace("http:", "https:")))
    assert "speaks no TLS" in look(cluster).found


@pytest.mark.parametrize("text", ["hello: 1", "a: b: c", "\t- [", "words", "[1, 2]", "", "\0"])
def test_a_kubeconfig_that_is_none(tmp_path: Path, text: str):
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    with pytest.raises(FailedPrecondition, match="--kubeconfig"):
        Cluster.connect(file)


def test_a_context_that_the_kubeconfig_has_not(tmp_path: Path):
    with pytest.raises(FailedPrecondition, match="--context"):
        Cluster.connect(kubeconfig(tmp_path, "http://127.0.0.1:1"), "other")
