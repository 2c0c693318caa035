"""The routes: /v1/models, /v1/completions, /v1/chat/completions."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from assay.client.errors import error_from_rpc
from assay.errors import AssayError, Cancelled, Internal, InvalidInput, NotFound, ResourceExhausted, Unauthenticated
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import inference_optimizer_pb2_grpc
from assay_inference_optimizer.openai_http import questions
from assay_inference_optimizer.openai_http.answers import (
    Choice,
    Head,
    chat_logprobs,
    completion_logprobs,
    echoed,
    model_object,
    usage_of,
    usage_of_prompts,
)
from assay_inference_optimizer.openai_http.errors import error_body, error_response
from assay_inference_optimizer.openai_http.questions import Question

MAX_BODY_BYTES = 4 * 2**20
DEADLINE_S = 3600.0

log = logging.getLogger(__name__)


def application(channel: grpc.aio.Channel, *, api_key: str = "") -> Starlette:
    """channel: to a front of inference-optimizer. api_key: what clients must show as a bearer token; "" for none."""
    facade = _Facade(inference_optimizer_pb2_grpc.InferenceOptimizerServiceStub(channel), api_key)
    return Starlette(
        routes=[
            Route("/v1/models", facade.guarded(facade.models)),
            Route("/v1/models/{model:path}", facade.guarded(facade.model)),
            Route("/v1/completions", facade.guarded(facade.completions), methods=["POST"]),
            Route("/v1/chat/completions", facade.guarded(facade.chat), methods=["POST"]),
        ],
        exception_handlers={404: _no_route, 405: _no_route},
    )


class _Facade:
    def __init__(self, stub: Any, api_key: str) -> None:
        self._stub = stub
        self._api_key = api_key

    def guarded(self, handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """`handle`, with identity before it and every failure as a body that clients understand."""

        async def answer(request: Request) -> Response:
            try:
                self._admit(request)
                return await handle(request)
            except AssayError as error:
                return error_response(error)
            except Exception:
                error_id = uuid.uuid4().hex[:12]
                log.exception("request failed, error id %s", error_id)
                return error_response(
                    Internal(f"an unexpected error happened; quote error id {error_id} when you report it")
                )

        return answer

    async def models(self, request: Request) -> Response:
        names = await self._names()
        return JSONResponse({"object": "list", "data": [model_object(name) for name in names]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["model"]
        if name not in await self._names():
            raise NotFound(f"model: there is no {name}; GET /v1/models lists what there is")
        return JSONResponse(model_object(name))

    async def completions(self, request: Request) -> Response:
        question = questions.completion(await _body(request))
        head = Head.new("text_completion", question.model)
        if question.echo:
            echo: Response = await _unless_gone(request, self._echo(question, head))
            return echo
        if question.stream:
            return await self._streamed(request, question, head, _completion_part)
        choices = await _unless_gone(request, self._all(question))
        parts = [_completion(choice, question) for choice in choices]
        return JSONResponse(head.document(parts, usage_of(choices, len(question.seeds))))

    async def chat(self, request: Request) -> Response:
        question = questions.chat(await _body(request))
        if question.stream:
            head = Head.new("chat.completion.chunk", question.model)
            return await self._streamed(request, question, head, _chat_part)
        choices = await _unless_gone(request, self._all(question))
        head = Head.new("chat.completion", question.model)
        return JSONResponse(
            head.document([_message(choice, question) for choice in choices], usage_of(choices, len(question.seeds)))
        )

    def _admit(self, request: Request) -> None:
        if not self._api_key:
            return
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(shown.encode(), self._api_key.encode()):
            raise Unauthenticated(
                "the API key is missing or wrong; send it as a bearer token", reason="INVALID_API_KEY"
            )

    async def _names(self) -> list[str]:
        answer = await _call(self._stub.ListModels, api.ListModelsRequest())
        return [name for model in answer.models for name in (*model.labels, model.model)]

    async def _all(self, question: Question) -> list[Choice]:
        """Every choice, answered at once: the service decodes them together."""
        requests = question.requests()

        async def one(index: int) -> Choice:
            choice = Choice(index)
            async with aclosing(self._parts(requests[index])) as parts:
                async for part in parts:
                    choice.add(part)
            return choice

        return await _at_once([one(index) for index in range(len(requests))])

    async def _echo(self, question: Question, head: Head) -> Response:
        """Prompts with their log-probabilities, then what follows them."""
        if question.stream:
            raise InvalidInput("echo", "does not go with stream; leave one out")
        texts = [prompt.text for prompt in question.prompts if prompt.HasField("text")]
        ids = [prompt.tokens for prompt in question.prompts if prompt.HasField("tokens")]  # all of them, or none
        scores: list[api.TextScore] = []
        answers = question.sampling.max_new_tokens > 0
        if ids or question.logprobs is not None or not answers:  # the service alone knows what ids spell
            asked = api.ScoreRequest(
                model=question.model,
                texts=texts,
                tokens=ids,
                sparse=question.sparse,
                alternatives=question.logprobs or 0,
            )
            scores = list((await _call(self._stub.Score, asked)).scores)
            texts += [score.text for score in scores[len(texts) :]]
        each = len(question.seeds)
        if answers:
            choices = await self._all(question)
            usage = usage_of(choices, each)
        else:
            choices = [Choice(index, finish_reason="length") for index in range(each * len(texts))]
            usage = usage_of_prompts(scores)
        parts = []
        for choice in choices:
            text = texts[choice.index // each]
            choice.offset = len(text)
            part = _completion(choice, question)
            part["text"] = text + choice.text
            if question.logprobs is not None:
                before = echoed(text, scores[choice.index // each])
                part["logprobs"] = {name: before[name] + part["logprobs"][name] for name in before}
            parts.append(part)
        return JSONResponse(head.document(parts, usage))

    async def _streamed(self, request: Request, question: Question, head: Head, part_of: _PartOf) -> Response:
        """Server-sent events; a failure before the first of them is an ordinary error response."""
        events = self._events(question, head, part_of)
        # A client that goes while its prompt is being read ends that, too.
        first = await _unless_gone(request, anext(events))

        async def all_of_them() -> AsyncIterator[str]:
            async with aclosing(events):
                yield first
                async for event in events:
                    yield event

        return StreamingResponse(all_of_them(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def _events(self, question: Question, head: Head, part_of: _PartOf) -> AsyncGenerator[str, None]:
        requests = question.requests()
        choices = [Choice(index) for index in range(len(requests))]
        happened: asyncio.Queue[tuple[int, api.Generated] | AssayError | None] = asyncio.Queue()

        async def follow(index: int) -> None:
            try:
                async with aclosing(self._parts(requests[index])) as parts:
                    async for part in parts:
                        await happened.put((index, part))
            except AssayError as error:
                await happened.put(error)
            else:
                await happened.put(None)

        tasks = [asyncio.create_task(follow(index)) for index in range(len(requests))]
        going, begun = len(tasks), False
        try:
            while going:
                event = await happened.get()
                if isinstance(event, AssayError):
                    if not begun:
                        raise event
                    yield _data(error_body(event))
                    return
                if event is None:
                    going -= 1
                    continue
                index, part = event
                for document in part_of(choices[index], part, question):
                    yield _data(head.document([document]))
                begun = True
            if question.include_usage:
                yield _data(head.document([], usage_of(choices, len(question.seeds))))
            yield "data: [DONE]\n\n"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _parts(self, request: api.GenerateRequest) -> AsyncGenerator[api.Generated, None]:
        call = self._stub.Generate(request, timeout=DEADLINE_S)
        try:
            async for reply in call:
                yield reply.generated
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from None
        finally:
            call.cancel()


_PartOf = Callable[[Choice, api.Generated, Question], list[dict[str, Any]]]


def _completion(choice: Choice, question: Question) -> dict[str, Any]:
    known = None if question.logprobs is None else completion_logprobs(choice.tokens, choice.offset)
    return {"index": choice.index, "text": choice.text, "logprobs": known, "finish_reason": choice.finish_reason}


def _completion_part(choice: Choice, part: api.Generated, question: Question) -> list[dict[str, Any]]:
    offset = len(choice.text)
    tokens = choice.add(part)
    known = None if question.logprobs is None else completion_logprobs(tokens, offset)
    return [{"index": choice.index, "text": part.text, "logprobs": known, "finish_reason": choice.finish_reason}]


def _message(choice: Choice, question: Question) -> dict[str, Any]:
    return {
        "index": choice.index,
        "message": {"role": "assistant", "content": choice.text, "refusal": None},
        "logprobs": None if question.logprobs is None else chat_logprobs(choice.tokens),
        "finish_reason": choice.finish_reason,
    }


def _chat_part(choice: Choice, part: api.Generated, question: Question) -> list[dict[str, Any]]:
    begins = not choice.tokens and not choice.text
    tokens = choice.add(part)
    delta: dict[str, Any] = {"role": "assistant", "content": part.text} if begins else {"content": part.text}
    known = None if question.logprobs is None else chat_logprobs(tokens)
    documents = []
    if begins or part.text or tokens:
        documents.append({"index": choice.index, "delta": delta, "logprobs": known, "finish_reason": None})
    if choice.finish_reason:
        documents.append({"index": choice.index, "delta": {}, "logprobs": None, "finish_reason": choice.finish_reason})
    return documents


async def _call(method: Any, request: Any) -> Any:
    try:
        return await method(request, timeout=DEADLINE_S)
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error) from None


async def _at_once(work: list[Any]) -> list[Any]:
    """In order; the first failure stops the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]


async def _unless_gone(request: Request, work: Any) -> Any:
    """What `work` gives; stops it where the client goes away."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Cancelled("the client has gone")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> Mapping[str, Any]:
    # Browsers send anything else across origins without asking; and no client of this API does.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput("content-type", "is not application/json")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise ResourceExhausted(f"the request has more than {MAX_BODY_BYTES:,} bytes; send less at once")
    try:
        body = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InvalidInput("", "the body is no JSON") from None
    if not isinstance(body, dict):
        raise InvalidInput("", "the body is no JSON object")
    return body


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _data(document: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


async def _no_route(request: Request, error: Exception) -> Response:
    path = f"{request.method} {request.url.path}"
    status = getattr(error, "status_code", 404)
    message = f"{path} is not served here; there are /v1/models, /v1/completions and /v1/chat/completions"
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "unknown_url"}}
    return JSONResponse(body, status)
