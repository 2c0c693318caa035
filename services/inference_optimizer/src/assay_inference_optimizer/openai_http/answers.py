"""What the service answers, in the JSON that clients expect."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api

FINISH_REASONS = {
    api.FINISH_REASON_END: "stop",
    api.FINISH_REASON_STOP: "stop",
    api.FINISH_REASON_LENGTH: "length",
}

UNFINISHED = "\N{REPLACEMENT CHARACTER}"


@dataclass
class Choice:
    """One answer as it grows. offset: characters that came before, an echoed prompt among them."""

    index: int
    text: str = ""
    tokens: list[api.Token] = field(default_factory=list)
    finish_reason: str | None = None
    usage: api.Usage | None = None
    offset: int = 0

    def add(self, part: api.Generated) -> list[api.Token]:
        """Takes a message in; the tokens of it that a client is to see: not the end mark."""
        tokens = list(part.tokens)
        if part.finish_reason:
            self.finish_reason = FINISH_REASONS[part.finish_reason]
            self.usage = part.usage
            if part.finish_reason == api.FINISH_REASON_END and tokens:
                tokens.pop()
        self.text += part.text
        self.tokens += tokens
        return tokens


@dataclass(frozen=True)
class Head:
    """What every object of one answer begins with."""

    kind: str
    model: str
    id: str
    created: int

    @classmethod
    def new(cls, kind: str, model: str) -> Head:
        prefix = "chatcmpl" if kind.startswith("chat") else "cmpl"
        return cls(kind, model, f"{prefix}-{uuid.uuid4().hex}", int(time.time()))

    def document(self, choices: Sequence[dict[str, Any]], usage: dict[str, int] | None = None) -> dict[str, Any]:
        document: dict[str, Any] = {
            "id": self.id,
            "object": self.kind,
            "created": self.created,
            "model": self.model,
            "choices": list(choices),
        }
        return document if usage is None else {**document, "usage": usage}


def usage_of(choices: Iterable[Choice], per_prompt: int) -> dict[str, int]:
    """Of all choices; a prompt that is answered several times counts once."""
    prompt = completion = 0
    for choice in choices:
        if choice.usage is not None:
            completion += choice.usage.generated_tokens
            prompt += choice.usage.prompt_tokens if choice.index % per_prompt == 0 else 0
    return _usage(prompt, completion)


def usage_of_prompts(scores: Iterable[api.TextScore]) -> dict[str, int]:
    """Where prompts are read and nothing is answered."""
    return _usage(sum(len(score.tokens) for score in scores), 0)


def completion_logprobs(tokens: Sequence[api.Token], offset: int) -> dict[str, Any]:
    """offset: characters before the first of them."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.log_probability for token in tokens],
        "top_logprobs": [{one.text: one.log_probability for one in token.alternatives} for token in tokens],
        "text_offset": offsets,
    }


def chat_logprobs(tokens: Sequence[api.Token]) -> dict[str, Any]:
    return {
        "content": [{**_token(token), "top_logprobs": [_token(one) for one in token.alternatives]} for token in tokens],
        "refusal": None,
    }


def echoed(text: str, score: api.TextScore) -> dict[str, Any]:
    """The log-probabilities of a prompt that comes back."""
    data = text.encode()
    pieces = [data[token.start_byte : token.end_byte].decode(errors="replace") for token in score.tokens]
    return {
        "tokens": pieces,
        "token_logprobs": [
            token.log_probability if token.HasField("log_probability") else None for token in score.tokens
        ],
        "top_logprobs": [
            {one.text: one.log_probability for one in token.alternatives} if token.HasField("log_probability") else None
            for token in score.tokens
        ],
        "text_offset": [len(data[: token.start_byte].decode(errors="ignore")) for token in score.tokens],
    }


def model_object(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "assay"}


def _token(token: api.Token | api.Alternative) -> dict[str, Any]:
    # A token that is part of a character has no text of its own, and what its bytes are nobody says.
    bytes_of = None if UNFINISHED in token.text else list(token.text.encode())
    return {"token": token.text, "logprob": token.log_probability, "bytes": bytes_of}


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
