"""Traces from whoever speaks OpenAI's protocol: POST /chat/completions, one draft a call.

Which address is called is the deployment's choice, never a caller's: the key goes along with every call. Redirects are
not followed, for the same reason. Nothing here logs, and no error tells the key.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from typing import Any

from assay.cancel import CancelToken
from assay.errors import (
    AssayError,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from assay.models.language_model import prompt_seeds
from assay_tom_verifier.core.traces.prompt import STOP
from assay_tom_verifier.core.traces.writer import Draft, Sampling
from assay_tom_verifier.generators.hosted_endpoint import KEY, URL, HostedEndpoint

AT_ONCE = 8
ATTEMPTS = 4
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 60.0
POLL_S = 0.05  # how soon a cancel is noticed
MOST_BYTES = 2**20  # of an answer
TOLD_CHARACTERS = 300
AWAY = "GENERATOR_AWAY"  # nobody listens there: asking again at once helps nobody


class HostedModel:
    """The model that `endpoint` knows as `model`, as a writer of traces."""

    def __init__(self, endpoint: HostedEndpoint, model: str) -> None:
        self._endpoint, self._model = endpoint, model

    def write(self, prompt: str, count: int, sampling: Sampling, cancel: CancelToken) -> Iterator[Draft]:
        """See `TraceWriter`. Answers of 429 and 5xx are asked for again, as late as Retry-After says."""
        calls = _Calls()
        pool = ThreadPoolExecutor(min(count, AT_ONCE), thread_name_prefix="assay-hosted")
        try:
            drafts = [
                pool.submit(self._draft, prompt, seed % 2**31, sampling, calls)
                for seed in prompt_seeds([prompt] * count, sampling.seed)
            ]
            for draft in drafts:
                while not draft.done():
                    cancel.check()
                    wait([draft], timeout=POLL_S)
                yield draft.result()
        finally:
            # Whoever still waits for an answer is not waited for.
            calls.stop()
            pool.shutdown(wait=False, cancel_futures=True)

    def _draft(self, prompt: str, seed: int, sampling: Sampling, calls: _Calls) -> Draft:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": seed,
            "stop": list(STOP),
        }
        answer = _patiently(lambda: self._post(json.dumps(body).encode(), calls), calls)
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"]
            return Draft("" if text is None else str(text), choice.get("finish_reason") == "length")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise _no_protocol() from None

    def _post(self, body: bytes, calls: _Calls) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._endpoint.key:
            headers["Authorization"] = f"Bearer {self._endpoint.key}"
        try:
            connection = self._endpoint.connect()
        except OSError as error:
            raise Unavailable(
                f"the generator's endpoint does not answer ({_cause(error)}); check {URL}", reason=AWAY
            ) from None
        try:
            with closing(connection), calls.keep(connection.sock):
                connection.request("POST", f"{self._endpoint.path}/chat/completions", body, headers)
                reply = connection.getresponse()
                data = reply.read(MOST_BYTES + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"the generator's endpoint broke off ({_cause(error)}); try again") from None
        if reply.status != 200:
            raise self._refusal(reply.status, data, reply.headers.get("Retry-After", ""))
        if len(data) > MOST_BYTES:
            raise FailedPrecondition(f"the generator's answer is over {MOST_BYTES:,} bytes; lower max_tokens")
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise _no_protocol() from None

    def _refusal(self, status: int, data: bytes, retry_after: str) -> AssayError:
        """Its words are a stranger's: shown short, on one line, and without the key, should they repeat it."""
        told = self._told(data)
        pause_s = max(SHORTEST_PAUSE_S, float(retry_after)) if re.fullmatch(r"\d{1,9}", retry_after) else 1.0
        match status:
            case 401:
                return Unauthenticated(f"the generator's endpoint takes no such key; check {KEY}")
            case 403:
                return PermissionDenied(f"the generator's endpoint refuses this key or model; check {KEY}")
            case 404:
                return NotFound(f"generator.hosted: the endpoint has no model {self._model!r}, or {URL} is wrong{told}")
            case 429:
                return ResourceExhausted(
                    f"the generator's endpoint has too much to do, or its quota is used up{told}; try again later",
                    reason="GENERATOR_BUSY",
                    retry_after_s=pause_s,
                )
            case _ if 300 <= status < 400:
                return FailedPrecondition(f"the generator's endpoint is elsewhere (status {status}); mend {URL}")
            case _ if status >= 500:
                return Unavailable(
                    f"the generator's endpoint failed (status {status}){told}; try again", retry_after_s=pause_s
                )
            case _:
                return InvalidInput("generator", f"the endpoint refuses the request (status {status}){told}")

    def _told(self, data: bytes) -> str:
        try:
            found = json.loads(data)["error"]
            text = found["message"] if isinstance(found, dict) else found
        except (ValueError, RecursionError, KeyError, TypeError):
            return ""
        if not isinstance(text, str) or not text.strip():
            return ""
        if self._endpoint.key:
            text = text.replace(self._endpoint.key, "***")
        shown = "".join(letter if letter.isprintable() else " " for letter in text)
        return f": {shown[:TOLD_CHARACTERS].strip()}"


class _Calls:
    """The calls under way, which another thread may end."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @contextmanager
    def keep(self, opened: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.add(opened)
            if self.stopped.is_set():
                _shut(opened)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(opened)

    def stop(self) -> None:
        with self._lock:
            self.stopped.set()
            for opened in self._open:
                _shut(opened)


def _shut(opened: socket.socket) -> None:
    """Whoever reads from it reads its end. TLS is not asked: its own goodbye would wait for the other side's."""
    with suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _patiently(ask: Callable[[], Any], calls: _Calls) -> Any:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return ask()
        except (ResourceExhausted, Unavailable) as error:
            if error.reason == AWAY or attempt == ATTEMPTS:
                raise
            pause_s = (error.retry_after_s or 1.0) * 2 ** (attempt - 1)
            if calls.stopped.wait(min(pause_s, LONGEST_PAUSE_S)):
                raise
    raise AssertionError("unreachable")


def _cause(error: Exception) -> str:
    """In a word: what it says in full may hold addresses."""
    if isinstance(error, ssl.SSLError):
        return "TLS"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return "connection refused" if isinstance(error, ConnectionRefusedError) else "connection lost"


def _no_protocol() -> FailedPrecondition:
    return FailedPrecondition(
        f"the generator's endpoint answers with something else than OpenAI's chat completions; check {URL}",
        reason="NO_CHAT_COMPLETIONS",
    )
