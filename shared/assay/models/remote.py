"""The language-model port on inference-optimizer, wherever it runs. Needs no torch."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc

from assay.cancel import CancelToken
from assay.client.connection import Connection
from assay.client.errors import error_from_rpc
from assay.errors import AssayError, InvalidInput, OutOfRange
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import inference_optimizer_pb2_grpc
from assay.models.language_model import Capabilities, Evidence, FinishReason, Generation, Score, prompt_seeds
from assay.telemetry import current_traceparent

PROMPTS_AT_ONCE = 16  # the service decodes them together
TEXTS_AT_ONCE = 16
TEXT_BYTES_AT_ONCE = 2**20
ATTEMPTS = 5
LOAD_TIMEOUT_S = 1800.0
_FINISH_REASONS = {
    api.FINISH_REASON_END: FinishReason.END,
    api.FINISH_REASON_STOP: FinishReason.STOP,
    api.FINISH_REASON_LENGTH: FinishReason.LENGTH,
}
_TEXT_FIELD = re.compile(r"texts\[(\d+)\]")
ResultT = TypeVar("ResultT")


class RemoteLanguageModel:
    """The stored model `model` (digest or label), served behind `connection`. Same answers as on a local checkpoint,
    but for rounding. sparse: attention settings of every call; None for dense.

    Loads the model there at once. Raises NotFound for a model the service's store lacks, and what loading raises.
    """

    def __init__(self, connection: Connection, model: str, *, sparse: api.SparseConfig | None = None) -> None:
        self._stub = inference_optimizer_pb2_grpc.InferenceOptimizerServiceStub(connection.channel)
        self._sparse = sparse
        loaded = connection.call(self._stub.LoadModel, api.LoadModelRequest(model=model), timeout_s=LOAD_TIMEOUT_S)
        self.model: str = loaded.model.model
        self._context_tokens: int | None = loaded.model.context_tokens or None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(frozenset({Evidence.LOG_PROBABILITIES}), self._context_tokens)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        cancel: CancelToken,
    ) -> list[Generation]:
        def ask(index: int, own_seed: int) -> Generation:
            request = api.GenerateRequest(
                model=self.model,
                prompt=api.Prompt(text=prompts[index]),
                sampling=api.Sampling(
                    max_new_tokens=max_new_tokens, temperature=temperature, seed=own_seed, stop=list(stop)
                ),
                sparse=self._sparse,
            )
            try:
                return _patiently(lambda: self._generation(request, cancel), cancel)
            except InvalidInput as error:
                raise _of_prompt(error, index) from None
            except OutOfRange as error:
                raise InvalidInput(f"prompts[{index}]", error.message.removeprefix("prompt: ")) from None

        return _at_once(ask, list(enumerate(prompt_seeds(prompts, seed))))

    def score(self, texts: Sequence[str], *, cancel: CancelToken) -> list[Score]:
        def ask(first: int, last: int) -> list[Score]:
            request = api.ScoreRequest(model=self.model, texts=list(texts[first:last]), sparse=self._sparse)
            try:
                return _patiently(lambda: self._scores(request, cancel), cancel)
            except (InvalidInput, OutOfRange) as error:
                raise _of_text(error, first) from None

        return [score for scores in _at_once(ask, _parts(texts)) for score in scores]

    def _generation(self, request: api.GenerateRequest, cancel: CancelToken) -> Generation:
        text, tokens, nats = "", [], []
        for reply in self._replies(self._stub.Generate, request, cancel):
            part = reply.generated
            text += part.text
            tokens += [token.id for token in part.tokens]
            nats += [token.log_probability for token in part.tokens]
            if part.finish_reason:
                return Generation(text, tuple(tokens), tuple(nats), _FINISH_REASONS[part.finish_reason])
        raise AssertionError("an answer ends with its reason, or with an error")

    def _scores(self, request: api.ScoreRequest, cancel: CancelToken) -> list[Score]:
        call = self._stub.Score.future(request, timeout=cancel.remaining_s(), metadata=_metadata())
        cancel.on_cancel(call.cancel)
        try:
            answer = call.result()
        except grpc.FutureCancelledError:
            cancel.check()
            raise
        except grpc.RpcError as raw:
            cancel.check()
            raise error_from_rpc(raw) from None
        return [_score(one) for one in answer.scores]

    def _replies(self, method: Any, request: Any, cancel: CancelToken) -> Any:
        call = method(request, timeout=cancel.remaining_s(), metadata=_metadata())
        cancel.on_cancel(call.cancel)
        try:
            yield from call
        except grpc.RpcError as raw:
            cancel.check()
            raise error_from_rpc(raw) from None
        finally:
            call.cancel()


def _patiently(ask: Callable[[], ResultT], cancel: CancelToken) -> ResultT:
    """Asks again where the service says when: it has too much to do, or is away. Asking twice changes no answer."""
    for attempt in range(1, ATTEMPTS + 1):
        cancel.check()
        try:
            return ask()
        except AssayError as error:
            if not error.retry_after_s or attempt == ATTEMPTS:
                raise
            cancel.wait(error.retry_after_s * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _at_once(ask: Callable[..., ResultT], arguments: Sequence[tuple[Any, ...]]) -> list[ResultT]:
    """In order; where some fail, the first failure is raised once none runs any more."""
    if not arguments:
        return []
    with ThreadPoolExecutor(min(len(arguments), PROMPTS_AT_ONCE), thread_name_prefix="assay-ask") as threads:
        futures = [threads.submit(ask, *one) for one in arguments]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()


def _parts(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Ranges of texts that fit one message each."""
    parts, first, size = [], 0, 0
    for index, text in enumerate(texts):
        own = len(text.encode())
        if index > first and (index - first == TEXTS_AT_ONCE or size + own > TEXT_BYTES_AT_ONCE):
            parts.append((first, index))
            first, size = index, 0
        size += own
    return [*parts, (first, len(texts))] if texts else []


def _score(message: api.TextScore) -> Score:
    return Score(
        tuple(token.id for token in message.tokens),
        tuple(token.log_probability if token.HasField("log_probability") else None for token in message.tokens),
        tuple((token.start_byte, token.end_byte) for token in message.tokens),
    )


def _of_prompt(error: InvalidInput, index: int) -> InvalidInput:
    """In the words of the port: the service knows of one prompt, and of sampling."""
    field = error.violations[0].field
    name = f"prompts[{index}]" if field.startswith("prompt") else field.removeprefix("sampling.")
    return InvalidInput(re.sub(r"\[\d+\]$", "", name) if name.startswith("stop") else name, _description(error))


def _of_text(error: AssayError, first: int) -> InvalidInput:
    field, _, description = error.message.partition(": ")
    found = _TEXT_FIELD.fullmatch(field)
    return InvalidInput(f"texts[{first + int(found[1])}]" if found else field, description)


def _description(error: InvalidInput) -> str:
    return error.violations[0].description


def _metadata() -> list[tuple[str, str]]:
    metadata = [("x-request-id", uuid.uuid4().hex)]
    if traceparent := current_traceparent():
        metadata.append(("traceparent", traceparent))
    return metadata
