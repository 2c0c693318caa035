"""What a client asks for in JSON, as requests to the service. What cannot be honoured is refused, never ignored."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api

COMPLETION_TOKENS = 16  # OpenAI's own default
CHAT_TOKENS = 256
MAX_CHOICES = 128
ROLES = ("system", "developer", "user", "assistant", "tool")
HONOURED = frozenset(
    {
        "model", "stop", "temperature", "top_p", "top_k", "n", "seed", "stream", "stream_options", "logprobs",
        "max_tokens", "sparse", "early_exit",
    }
)  # fmt: skip
COMPLETION_HONOURED = HONOURED | {"prompt", "echo"}
CHAT_HONOURED = HONOURED | {"messages", "max_completion_tokens", "top_logprobs"}
# Whose call it is, and where the like may be cached: no answer depends on these.
IDENTIFIERS = frozenset({"user", "safety_identifier", "prompt_cache_key"})
# Taken where they ask for nothing, refused where they do; any other field is refused.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
    "best_of": (1,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "metadata": ({},),
}


@dataclass(frozen=True)
class Question:
    """One call. prompts: what to answer, each `choices` times; echo: each prompt comes back before its answer."""

    model: str
    prompts: tuple[api.Prompt, ...]
    sampling: api.Sampling
    seeds: tuple[int, ...]
    stream: bool
    include_usage: bool
    logprobs: int | None
    echo: bool = False
    sparse: api.SparseConfig | None = None
    early_exit: api.EarlyExitConfig | None = None

    def requests(self) -> list[api.GenerateRequest]:
        """In the order of the choices: all of the first prompt, then all of the second."""
        asked = []
        for prompt in self.prompts:
            for seed in self.seeds:
                sampling = api.Sampling()
                sampling.CopyFrom(self.sampling)
                sampling.seed = seed
                request = api.GenerateRequest(
                    model=self.model, prompt=prompt, sampling=sampling, sparse=self.sparse, early_exit=self.early_exit
                )
                asked.append(request)
        return asked


def completion(body: Mapping[str, Any]) -> Question:
    """A body of POST /v1/completions. InvalidInput naming the parameter."""
    _refuse_unsupported(body, COMPLETION_HONOURED)
    prompts = _prompts(body.get("prompt"))
    echo = _boolean(body, "echo")
    new = _whole(body, "max_tokens", COMPLETION_TOKENS, low=0 if echo else 1)
    logprobs = _whole(body, "logprobs", None, low=0, high=20)
    return Question(
        model=_model(body),
        prompts=prompts,
        sampling=_sampling(body, new, logprobs or 0),
        seeds=_seeds(body),
        stream=_boolean(body, "stream"),
        include_usage=_include_usage(body),
        logprobs=logprobs,
        echo=echo,
        sparse=_message(body, "sparse", api.SparseConfig()),
        early_exit=_message(body, "early_exit", api.EarlyExitConfig()),
    )


def chat(body: Mapping[str, Any]) -> Question:
    """A body of POST /v1/chat/completions. InvalidInput naming the parameter."""
    _refuse_unsupported(body, CHAT_HONOURED)
    wanted = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    if wanted != "max_tokens" and body.get("max_tokens") not in (None, body[wanted]):
        raise InvalidInput("max_tokens", "is not max_completion_tokens; leave one out")
    new = _whole(body, wanted, CHAT_TOKENS, low=1)
    top = _whole(body, "top_logprobs", 0, low=0, high=20) or 0
    logprobs = top if _boolean(body, "logprobs") else None
    if top and logprobs is None:
        raise InvalidInput("top_logprobs", "needs logprobs to be true")
    return Question(
        model=_model(body),
        prompts=(_conversation(body.get("messages")),),
        sampling=_sampling(body, new, top),
        seeds=_seeds(body),
        stream=_boolean(body, "stream"),
        include_usage=_include_usage(body),
        logprobs=logprobs,
        sparse=_message(body, "sparse", api.SparseConfig()),
        early_exit=_message(body, "early_exit", api.EarlyExitConfig()),
    )


def _sampling(body: Mapping[str, Any], new: int | None, alternatives: int) -> api.Sampling:
    stop = body.get("stop")
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise InvalidInput("stop", "is neither a text nor a list of texts")
    top_p = _number(body, "top_p", 1.0, high=1.0)
    return api.Sampling(
        max_new_tokens=new or 0,
        # The likeliest tokens that make up nothing are the likeliest one; to the service 0 means all of them.
        temperature=_number(body, "temperature", 1.0, high=2.0) if top_p else 0.0,
        top_p=top_p,
        top_k=_whole(body, "top_k", 0, low=0) or 0,  # not OpenAI's, but common
        stop=[text for text in stops if text],
        alternatives=alternatives,
        # A number that nobody asked for is not what a call may fail by.
        fit_context=body.get("max_tokens") is None and body.get("max_completion_tokens") is None,
    )


def _prompts(given: object) -> tuple[api.Prompt, ...]:
    if isinstance(given, str):
        return (api.Prompt(text=given),)
    if isinstance(given, list) and given:
        if all(isinstance(one, str) for one in given):
            return tuple(api.Prompt(text=one) for one in given)
        if _is_ids(given):
            return (api.Prompt(tokens=api.TokenIds(ids=given)),)
        if all(isinstance(one, list) and one and _is_ids(one) for one in given):
            return tuple(api.Prompt(tokens=api.TokenIds(ids=one)) for one in given)
    raise InvalidInput("prompt", "is neither text, nor token ids, nor a list of such; give at least one")


def _is_ids(given: Sequence[object]) -> bool:
    return all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**31 for one in given)


def _conversation(given: object) -> api.Prompt:
    if not isinstance(given, list) or not given:
        raise InvalidInput("messages", "are none; give at least one")
    messages = []
    for index, one in enumerate(given):
        if not isinstance(one, dict):
            raise InvalidInput(f"messages[{index}]", "is no object with role and content")
        role = one.get("role")
        if role not in ROLES:
            raise InvalidInput(f"messages[{index}].role", f"is {role!r}; one of {', '.join(ROLES)}")
        _refuse_others(one, ("role", "content"), f"messages[{index}].")
        messages.append(api.Message(role=role, content=_content(one.get("content"), index)))
    return api.Prompt(conversation=api.Conversation(messages=messages))


def _content(given: object, index: int) -> str:
    field = f"messages[{index}].content"
    if isinstance(given, str):
        return given
    if isinstance(given, list) and all(isinstance(part, dict) for part in given):
        for place, part in enumerate(given):
            if part.get("type") == "text":
                _refuse_others(part, ("type", "text"), f"{field}[{place}].")
        texts = [part.get("text") for part in given if part.get("type") == "text"]
        if len(texts) == len(given) and all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    raise InvalidInput(field, "is neither text nor a list of text parts; models here read text alone")


def _model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidInput("model", "is missing; GET /v1/models lists what there is")
    return model


def _seeds(body: Mapping[str, Any]) -> tuple[int, ...]:
    choices = _whole(body, "n", 1, low=1, high=MAX_CHOICES) or 1
    seed = _whole(body, "seed", None, low=-(2**63), high=2**63 - 1)
    first = secrets.randbits(48) if seed is None else seed % 2**63
    return tuple((first + index) % 2**63 for index in range(choices))


def _include_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise InvalidInput("stream_options", "is no object")
    _refuse_others(options, ("include_usage",), "stream_options.")
    return _boolean(options, "include_usage")


def _message(body: Mapping[str, Any], name: str, message: Any) -> Any:
    """An extension of ours: the message of that name, as protobuf's JSON."""
    if body.get(name) is None:
        return None
    try:
        return json_format.ParseDict(body[name], message)
    except (json_format.ParseError, TypeError, AttributeError) as error:
        raise InvalidInput(name, f"cannot be read ({error}); write it as protobuf's JSON") from None


def _refuse_unsupported(body: Mapping[str, Any], honoured: frozenset[str]) -> None:
    for name, value in body.items():
        if name in honoured or name in IDENTIFIERS:
            continue
        if name not in NEUTRAL or (value is not None and value not in NEUTRAL[name]):
            raise _unsupported(name)


def _refuse_others(part: Mapping[str, Any], honoured: Collection[str], where: str) -> None:
    """Of an object within the body. What is empty there is what clients send back of an answer."""
    for name, value in part.items():
        if name not in honoured and value:
            raise _unsupported(f"{where}{name}")


def _unsupported(name: str) -> InvalidInput:
    return InvalidInput(name, "is not supported here; leave it out", reason="UNSUPPORTED_PARAMETER")


def _boolean(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidInput(name, f"is {value!r}; write true or false")
    return value


def _number(body: Mapping[str, Any], name: str, default: float, *, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
        raise InvalidInput(name, f"is {value!r}; give a number from 0 to {high:g}")
    return float(value)


def _whole(body: Mapping[str, Any], name: str, default: int | None, *, low: int, high: int = 2**31 - 1) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(name, f"is {value!r}; give a whole number from {low} to {high}")
    return value
