"""Who a caller is: certificates made for the occasion, and headers that only a sidecar may set."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from probe.authority import Authority
from probe.service import FULL_NAME
from probe.serving import method, serving

from assay.errors import InvalidInput, PermissionDenied, Unauthenticated, Unavailable
from assay.server.settings import ServerSettings

ALICE = "spiffe://assay.test/alice"
BOB = "spiffe://assay.test/bob"
CERT_HEADER = "x-forwarded-client-cert"
TESTS = Path(__file__).resolve().parents[2]
ANYTHING = StringValue(value="x")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "authority").mkdir()
    return Authority(tmp_path / "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that the server does not know."""
    (tmp_path / "stranger").mkdir()
    return Authority(tmp_path / "stranger", "someone else's authority")


@pytest.fixture
def mtls(store: str, authority: Authority) -> Callable[..., object]:
    """A front under mutual TLS."""

    def front(**settings: object) -> object:
        return serving(store, transport="mtls", tls=authority.server_files(), health_listen="127.0.0.1:0", **settings)

    return front


def certificate_header(*elements: str) -> tuple[tuple[str, str], ...]:
    return tuple((CERT_HEADER, element) for element in elements)


async def test_under_mutual_tls_the_caller_is_the_uri_of_its_certificate(mtls, authority: Authority) -> None:
    async with mtls() as server:
        for caller in (ALICE, BOB):
            async with grpc.aio.secure_channel(server.address, authority.channel_credentials(caller)) as channel:
                # A header that claims to be someone else changes nothing.
                forged = certificate_header("URI=spiffe://assay.test/root")
                assert (await method(channel, "Caller")(ANYTHING, metadata=forged)).value == caller


async def test_without_a_certificate_nobody_gets_in(mtls, authority: Authority, refused) -> None:
    credentials = grpc.ssl_channel_credentials(authority.pem)
    async with mtls() as server, grpc.aio.secure_channel(server.address, credentials) as channel:
        error = await refused(method(channel, "Echo")(ANYTHING, timeout=10))
        assert isinstance(error, Unavailable)
    async with mtls() as server, grpc.aio.insecure_channel(server.address) as channel:
        assert isinstance(await refused(method(channel, "Echo")(ANYTHING, timeout=10)), Unavailable)


async def test_a_certificate_of_another_authority_is_refused(
    mtls, authority: Authority, stranger: Authority, refused
) -> None:
    key, certificate = stranger.certificate([ALICE])
    credentials = grpc.ssl_channel_credentials(authority.pem, key, certificate)
    async with mtls() as server, grpc.aio.secure_channel(server.address, credentials) as channel:
        assert isinstance(await refused(method(channel, "Echo")(ANYTHING, timeout=10)), Unavailable)


@pytest.mark.parametrize("uris", [[], [ALICE, BOB]], ids=["no URI", "two URIs"])
async def test_a_certificate_must_hold_exactly_one_uri(mtls, authority: Authority, refused, uris: list[str]) -> None:
    async with (
        mtls() as server,
        grpc.aio.secure_channel(server.address, authority.channel_credentials(*uris)) as channel,
    ):
        error = await refused(method(channel, "Echo")(ANYTHING))
        assert isinstance(error, Unauthenticated)
        assert f"has {len(uris)} URI names" in error.message


async def test_the_most_specific_entry_of_the_allow_list_decides(mtls, authority: Authority, refused) -> None:
    allow = {"*": (BOB,), f"/{FULL_NAME}/*": (ALICE,), f"/{FULL_NAME}/Caller": (ALICE, BOB)}
    async with mtls(allow=allow) as server:
        async with grpc.aio.secure_channel(server.address, authority.channel_credentials(BOB)) as channel:
            assert (await method(channel, "Caller")(ANYTHING)).value == BOB
            error = await refused(method(channel, "Echo")(ANYTHING))
            assert isinstance(error, PermissionDenied)
            assert error.reason == "CALLER_NOT_ALLOWED"
        async with grpc.aio.secure_channel(server.address, authority.channel_credentials(ALICE)) as channel:
            assert (await method(channel, "Echo")(ANYTHING)).value == "x"
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            error = await refused(anext(aiter(stub.ServerReflectionInfo(iter([asked])))))
            assert isinstance(error, PermissionDenied)


async def test_health_has_a_plaintext_port_of_its_own_where_nothing_else_is_served(
    mtls, authority: Authority, refused
) -> None:
    async with mtls(allow={"*": (ALICE,)}) as server:
        assert server.health_address != server.address
        async with grpc.aio.insecure_channel(server.health_address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("live", "", FULL_NAME):
                assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == 1
            for name in ("Echo", "Caller"):
                error = await refused(method(channel, name)(ANYTHING))
                assert error.code == "UNIMPLEMENTED"
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            assert (await refused(anext(aiter(stub.ServerReflectionInfo(iter([asked])))))).code == "UNIMPLEMENTED"


async def test_renewed_files_are_taken_up_without_a_restart(
    mtls, authority: Authority, tmp_path: Path, refused
) -> None:
    # Both the server's certificate and the authority that signs callers change, as when an authority rolls over.
    (tmp_path / "next").mkdir()
    successor = Authority(tmp_path / "next", "the next authority")
    async with mtls() as server:
        async with grpc.aio.secure_channel(server.address, successor.channel_credentials(ALICE)) as channel:
            assert isinstance(await refused(method(channel, "Echo")(ANYTHING, timeout=10)), Unavailable)
        renewed = successor.server_files()
        for name in ("server.pem", "server.key", "authority.pem"):
            (tmp_path / "authority" / name).write_bytes((renewed.certificate.parent / name).read_bytes())
        async with grpc.aio.secure_channel(server.address, successor.channel_credentials(BOB)) as channel:
            assert (await method(channel, "Caller")(ANYTHING, timeout=10)).value == BOB


async def test_files_that_are_half_written_leave_the_old_certificate_in_place(
    mtls, authority: Authority, tmp_path: Path
) -> None:
    credentials = authority.channel_credentials(ALICE)
    async with mtls() as server:
        (tmp_path / "authority/server.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nMIIB")
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            assert (await method(channel, "Caller")(ANYTHING, timeout=10)).value == ALICE
        (tmp_path / "authority/server.key").unlink()
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            assert (await method(channel, "Caller")(ANYTHING, timeout=10)).value == ALICE


@pytest.mark.parametrize(
    "element",
    [
        f"URI={ALICE}",
        f"By=spiffe://assay.test/front;Hash=468ed3;URI={ALICE};DNS=alice.test",
        f'Hash=468ed3;Subject="O=a\\"b,c;d,CN=x";URI={ALICE}',
        f'uri="{ALICE}"',
    ],
)
async def test_in_a_mesh_the_caller_is_the_one_uri_the_sidecar_names(store: str, element: str) -> None:
    async with serving(store, transport="mesh") as server, grpc.aio.insecure_channel(server.address) as channel:
        found = await method(channel, "Caller")(ANYTHING, metadata=certificate_header(element))
        assert found.value == ALICE


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [f"URI={ALICE}", f"URI={BOB}"],
        [f"URI={ALICE},URI={BOB}"],
        [f'Subject="CN=x",URI={ALICE}'],
        ["By=spiffe://assay.test/front;Hash=468ed3"],
        [f"URI={ALICE};URI={BOB}"],
        ["URI="],
        [""],
        [f'Subject="URI={ALICE}'],
    ],
    ids=["no header", "two headers", "two elements", "an element before", "no URI", "two URIs", "empty URI", "empty",
         "open quote"],
)  # fmt: skip
async def test_in_a_mesh_anything_but_one_uri_in_one_element_is_refused(
    store: str, headers: list[str], refused
) -> None:
    # Several elements or headers: a proxy added to what the client wrote instead of replacing it.
    async with serving(store, transport="mesh") as server, grpc.aio.insecure_channel(server.address) as channel:
        error = await refused(method(channel, "Caller")(ANYTHING, metadata=certificate_header(*headers)))
        assert isinstance(error, Unauthenticated)


async def test_outside_a_mesh_the_header_is_only_a_header(store: str) -> None:
    async with serving(store) as server, grpc.aio.insecure_channel(server.address) as channel:
        metadata = certificate_header(f"URI={ALICE}")
        assert (await method(channel, "Caller")(ANYTHING, metadata=metadata)).value == "anonymous"


async def test_a_sidecar_may_come_over_a_unix_socket_or_by_ipv6(store: str, tmp_path: Path) -> None:
    for listen in (f"unix:{tmp_path}/s", "[::]:0"):
        async with serving(store, transport="mesh", listen=listen) as server:
            address = server.address.replace("[::]", "127.0.0.1")
            async with grpc.aio.insecure_channel(address) as channel:
                found = await method(channel, "Caller")(ANYTHING, metadata=certificate_header(f"URI={ALICE}"))
                assert found.value == ALICE


async def test_probes_need_no_identity_and_no_entry_in_the_allow_list(store: str, refused) -> None:
    async with (
        serving(store, transport="mesh", allow={"*": (ALICE,)}) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        assert isinstance(await refused(method(channel, "Echo")(ANYTHING)), Unauthenticated)


class Pod:
    """Two network namespaces joined by a cable: a pod with a front in it, and its neighbour."""

    address, neighbour_address = "192.0.2.1", "192.0.2.2"

    def __init__(self) -> None:
        unique = uuid.uuid4().hex[:6]
        self.name, self.neighbour = f"assay-pod-{unique}", f"assay-near-{unique}"

    def make(self) -> None:
        for name in (self.name, self.neighbour):
            self._ip("netns", "add", name)
            self._ip("-n", name, "link", "set", "lo", "up")
        peer = ("peer", "name", "eth0", "netns", self.neighbour)
        self._ip("-n", self.name, "link", "add", "eth0", "type", "veth", *peer)
        for name, address in ((self.name, self.address), (self.neighbour, self.neighbour_address)):
            self._ip("-n", name, "addr", "add", f"{address}/30", "dev", "eth0")
            self._ip("-n", name, "link", "set", "eth0", "up")

    def remove(self) -> None:
        for name in (self.name, self.neighbour):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def run(self, name: str, *command: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, *command],
            env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def pod() -> Iterator[Pod]:
    made = Pod()
    try:
        made.make()
    except (OSError, subprocess.CalledProcessError) as error:
        made.remove()
        pytest.skip(f"needs network namespaces (root, and Debian's iproute2): {error}")
    yield made
    made.remove()


CALL = """
import grpc, sys
from google.protobuf.wrappers_pb2 import StringValue
address, service, header = sys.argv[1:]
with grpc.insecure_channel(address) as channel:
    call = channel.unary_unary(f"/{service}/Caller", StringValue.SerializeToString, StringValue.FromString)
    try:
        answer = call(StringValue(value="x"), timeout=20, metadata=(("x-forwarded-client-cert", header),))
        print("OK", answer.value)
    except grpc.RpcError as error:
        print(error.code().name, error.details())
"""


def test_a_forged_header_from_beyond_loopback_is_refused(store: str, pod: Pod) -> None:
    front = pod.run(
        pod.name, "-m", "probe.main", "in-process",
        ASSAY_STORE=store, ASSAY_TRANSPORT="mesh", ASSAY_LISTEN="0.0.0.0:50051",
    )  # fmt: skip
    try:
        assert front.stdout is not None
        assert front.stdout.readline().strip() == "0.0.0.0:50051"

        def answer(where: str, address: str) -> str:
            run = pod.run(where, "-c", CALL, f"{address}:50051", FULL_NAME, f"URI={ALICE}")
            return run.communicate(timeout=60)[0].strip()

        refusal = "PERMISSION_DENIED in mesh mode calls come through the sidecar only"
        assert answer(pod.name, "127.0.0.1") == f"OK {ALICE}"
        assert answer(pod.neighbour, pod.address) == refusal
        # The machine's own address is not loopback either: whoever listens on all of them may be reached by all.
        assert answer(pod.name, pod.address) == refusal
    finally:
        front.kill()
        front.wait()


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        "{}",
        '{"*": null}',
        '{"*": "spiffe://a"}',
        '{"*": ["a", 3]}',
        '{"*": [""]}',
        '{"assay.x.v1.X/Echo": ["a"]}',
    ],
)
def test_an_allow_list_that_says_nothing_clear_is_refused_at_start(tmp_path: Path, document: str) -> None:
    file = tmp_path / "allow.json"
    file.write_text(document)
    with pytest.raises(InvalidInput, match="ASSAY_ALLOW_FILE"):
        ServerSettings.from_environment({"ASSAY_ALLOW_FILE": str(file)})


def test_an_allow_list_is_read_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "allow.json"
    file.write_text(f'{{"*": ["{BOB}"], "/{FULL_NAME}/*": ["{ALICE}", "*"], "/{FULL_NAME}/Echo": []}}')
    settings = ServerSettings.from_environment({"ASSAY_ALLOW_FILE": str(file)})
    assert settings.allow == {"*": (BOB,), f"/{FULL_NAME}/*": (ALICE, "*"), f"/{FULL_NAME}/Echo": ()}


@pytest.mark.parametrize("name", ["ASSAY_METRICS_PORT", "ASSAY_DRAIN_S", "ASSAY_GRACE_S"])
@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf"])
def test_a_setting_that_is_no_number_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        ServerSettings.from_environment({name: value})
