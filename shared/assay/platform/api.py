"""The Kubernetes API as plain documents: asked with a time limit, asked again where the server stumbles."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from assay.errors import (
    AlreadyExists,
    AssayError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]

CONNECT_S = 4.0
READ_S = 15.0
PAUSES_S = (0.2, 0.6, 1.5)
PAGE = 500
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
BY_STATUS: dict[int, type[AssayError]] = {
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: AlreadyExists,
    429: ResourceExhausted,
}


def to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Cluster:
    """One API server, as one user of a kubeconfig sees it.

    Every request has a time limit. What the server certainly did not do, or what bears repeating, is asked again
    after 0.2, 0.6 and 1.5 s; `tell` hears of it. slowest_s: the longest that an answer took so far.
    """

    def __init__(self, client: ApiClient, tell: Callable[[str], None] = to_stderr) -> None:
        self.client = client
        self.slowest_s = 0.0
        self._tell = tell
        self._resources: dict[str, dict[str, Object]] = {}

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, context: str | None = None) -> Cluster:
        """By the kubeconfig (KUBECONFIG, ~/.kube/config by default); asks the server nothing yet."""
        try:
            import yaml
            from kubernetes import config
            from urllib3 import Retry
        except ModuleNotFoundError as error:
            raise FailedPrecondition(
                "deploying needs the kubernetes package; pip install 'assay-platform[deploy]'"
            ) from error
        try:
            client = config.new_client_from_config(
                str(kubeconfig) if kubeconfig else None, context or None, persist_config=False
            )
        except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split())
            raise FailedPrecondition(
                f"the kubeconfig cannot be used: {said}; name a file with --kubeconfig and an entry with --context"
            ) from error
        client.rest_client.pool_manager.connection_pool_kw["retries"] = Retry(0, redirect=0)
        return cls(client)

    @property
    def address(self) -> str:
        return str(self.client.configuration.host)

    @cached_property
    def version(self) -> Object:
        """Of the server: major, minor, gitVersion. FailedPrecondition where something else answers."""
        answer = self.raw("GET", "/version")
        try:
            found = json.loads(answer)
            assert found["gitVersion"]
        except (ValueError, TypeError, KeyError, AssertionError):
            raise FailedPrecondition(
                f"{self.address} answers, but is no Kubernetes API server; check the kubeconfig's server",
                reason="NOT_KUBERNETES",
            ) from None
        return dict(found)

    def reach(self) -> None:
        """Raises Unavailable, or what else tells that nothing can be asked here, before a program of others does."""
        with suppress(PermissionDenied):
            _ = self.version

    def get(self, path: str, **query: Any) -> Object:
        """Raises NotFound, PermissionDenied, Unauthenticated, Unavailable."""
        return dict(json.loads(self.raw("GET", path, query=query)))

    def find(self, path: str, **query: Any) -> Object | None:
        try:
            return self.get(path, **query)
        except NotFound:
            return None

    def list(self, path: str, **query: Any) -> Iterator[Object]:
        """Page after page, so that no answer grows with the cluster. query: labelSelector, fieldSelector."""
        token = ""
        while True:
            page = self.get(path, limit=PAGE, **({"continue": token} if token else {}), **query)
            yield from page.get("items") or []
            if not (token := page.get("metadata", {}).get("continue", "")):
                return

    def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        query = {"dryRun": "All"} if dry_run else {}
        return dict(json.loads(self.raw("POST", path, query=query, body=body, repeat=dry_run)))

    def patch(self, path: str, body: Object) -> Object:
        """A merge patch: None removes a field."""
        return dict(json.loads(self.raw("PATCH", path, body=body, content_type=MERGE)))

    def apply(self, found: Object, *, manager: str, namespace: str | None = None, dry_run: bool = False) -> Object:
        """Server-side apply; with `dry_run` what the object would be, nothing kept."""
        meta = found["metadata"]
        path = self.path_of(found["apiVersion"], found["kind"], meta.get("namespace") or namespace, meta["name"])
        query = {"fieldManager": manager, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        return dict(json.loads(self.raw("PATCH", path, query=query, body=found, content_type=APPLY)))

    def delete(self, path: str) -> None:
        """With what it owns, which may take a while. What is gone already is fine."""
        try:
            self.raw("DELETE", path, query={"propagationPolicy": "Background"})
        except NotFound:
            return

    def resource(self, api_version: str, kind: str) -> Object:
        """How the server serves a kind: name (plural), namespaced. NotFound where it does not."""
        if api_version not in self._resources:
            root = "/api/v1" if api_version == "v1" else f"/apis/{api_version}"
            listed = self.find(root) or {}
            self._resources[api_version] = {
                each["kind"]: each for each in listed.get("resources", []) if "/" not in each["name"]
            }
        try:
            return self._resources[api_version][kind]
        except KeyError:
            raise NotFound(f"this cluster serves no {kind} of {api_version}; install its CRD") from None

    def kinds(self) -> Iterator[tuple[str, str]]:
        """(apiVersion, kind) of all that lives in namespaces and can be listed and deleted, each kind once."""
        seen: set[tuple[str, str]] = set()
        groups = self.get("/apis")["groups"]
        for version in ["v1", *(each["groupVersion"] for group in groups for each in group["versions"])]:
            listed = self.get("/api/v1" if version == "v1" else f"/apis/{version}")
            for each in listed["resources"]:
                key = (version.rpartition("/")[0], each["kind"])
                lasting = each["namespaced"] and "/" not in each["name"] and {"list", "delete"} <= set(each["verbs"])
                if lasting and key not in seen:
                    seen.add(key)
                    yield version, each["kind"]

    def path_of(self, api_version: str, kind: str, namespace: str | None, name: str = "") -> str:
        """The URL's path of an object, or of a kind's list where `name` is empty."""
        resource = self.resource(api_version, kind)
        root = "/api/v1" if api_version == "v1" else f"/apis/{api_version}"
        inside = f"/namespaces/{quote(namespace)}" if resource["namespaced"] and namespace else ""
        return f"{root}{inside}/{resource['name']}" + (f"/{quote(name)}" if name else "")

    def raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        repeat: bool | None = None,
    ) -> bytes:
        """The bytes of a successful answer. repeat: whether asking twice does no harm; all but POST by default."""
        bears_repeating = method != "POST" if repeat is None else repeat
        url = path + (f"?{urlencode(query)}" if query else "")
        for pause_s in (*PAUSES_S, None):
            begun = time.monotonic()
            trouble: AssayError | None = None
            try:
                status, data = self._once(method, url, body, content_type)
            except _NotSent as error:
                status, data, trouble = 0, b"", error.error
            except AssayError as error:
                status, data, trouble = -1, b"", error
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            if 200 <= status < 300:
                return data
            if 300 <= status < 500 and status != 429:
                raise _refusal(status, data, self.address)
            trouble = trouble or Unavailable(f"the API server at {self.address} answers {status}: {_words(data)}")
            if pause_s is None or not (bears_repeating or status in (0, 429)):
                raise trouble
            self._tell(f"{trouble.message}; trying again")
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _once(self, method: str, url: str, body: Object | None, content_type: str) -> tuple[int, bytes]:
        import urllib3.exceptions as http
        from kubernetes.client import ApiException

        headers = {"Accept": "application/json", "Content-Type": content_type}
        _, full, headers, sent, _ = self.client.param_serialize(
            method, url, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            answer = self.client.rest_client.request(
                method, full, headers=headers, body=sent, _request_timeout=(CONNECT_S, READ_S)
            )
            return int(answer.status), bytes(answer.read())
        except (http.SSLError, http.MaxRetryError, http.NewConnectionError, http.ConnectTimeoutError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, http.SSLError):
                raise FailedPrecondition(
                    f"{self.address} cannot be trusted or speaks no TLS ({_words(str(reason).encode())}); check the "
                    "kubeconfig's server and certificate-authority"
                ) from error
            if isinstance(reason, http.ReadTimeoutError | http.ProtocolError):
                raise self._silent(reason) from error
            raise _NotSent(
                Unavailable(f"the API server at {self.address} cannot be reached; check the address and the network")
            ) from error
        except (http.ReadTimeoutError, http.ProtocolError) as error:
            raise self._silent(error) from error
        except ApiException as error:  # the package's own words for failures before an answer
            raise Unavailable(f"the API server at {self.address}: {_words(str(error.reason).encode())}") from error

    def _silent(self, error: Exception) -> AssayError:
        import urllib3.exceptions as http

        if isinstance(error, http.ReadTimeoutError):
            return DeadlineExceeded(
                f"the API server at {self.address} gave no answer in {READ_S:.0f} s; it is overloaded"
            )
        return Unavailable(f"the API server at {self.address} broke off its answer; check proxies on the way")


class _NotSent(Exception):
    """The request certainly reached nobody."""

    def __init__(self, error: AssayError) -> None:
        super().__init__(error.message)
        self.error = error


def _refusal(status: int, data: bytes, address: str) -> AssayError:
    message = _words(data)
    if status == 401:
        message = f"{address} does not accept the kubeconfig's credentials ({message}); log in again"
    if status in (400, 422):
        return InvalidInput("", message)
    return BY_STATUS.get(status, FailedPrecondition)(message)


def _words(data: bytes) -> str:
    """The message of a Kubernetes Status, or the beginning of whatever else came."""
    try:
        return str(json.loads(data)["message"])
    except (ValueError, TypeError, KeyError):
        return " ".join(data[:300].decode(errors="replace").split())
