"""Questions to the service, and whole answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from assay.client.errors import error_from_rpc
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api

# As sparse as a context of 512 tokens allows: blocks of 16, one of them forced at each end.
SPARSE = api.SparseConfig(block_size=16, sink_tokens=16, window_tokens=16, target_density=0.4, dense_layers=1)
# The same without a block forced at the beginning, so that the last of them is chosen.
CHOOSING = api.SparseConfig(block_size=16, sink_tokens=0, window_tokens=16, target_density=0.4, dense_layers=1)


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: tuple[int, ...]
    nats: tuple[float, ...]
    exits: tuple[int, ...]
    finish_reason: int
    usage: api.Usage
    messages: int


def collect(replies: Any) -> Answer:
    """Raises the AssayError that the stream ended with."""
    parts = []
    try:
        parts = [reply.generated for reply in replies]
    except grpc.RpcError as raw:
        raise error_from_rpc(raw) from None
    tokens = [token for part in parts for token in part.tokens]
    return Answer(
        "".join(part.text for part in parts),
        tuple(token.id for token in tokens),
        tuple(token.log_probability for token in tokens),
        tuple(token.exit_layer for token in tokens),
        parts[-1].finish_reason,
        parts[-1].usage,
        len(parts),
    )


def request(
    model: str,
    prompt: str | Sequence[int],
    new: int = 16,
    *,
    sparse: api.SparseConfig | None = None,
    early_exit: api.EarlyExitConfig | None = None,
    **sampling: Any,
) -> api.GenerateRequest:
    content = api.Prompt(text=prompt) if isinstance(prompt, str) else api.Prompt(tokens=api.TokenIds(ids=prompt))
    return api.GenerateRequest(
        model=model,
        prompt=content,
        sampling=api.Sampling(max_new_tokens=new, **sampling),
        sparse=sparse,
        early_exit=early_exit,
    )


def generate(stub: Any, asked: api.GenerateRequest) -> Answer:
    return collect(stub.Generate(asked))


def decode(stub: Any, session: str, new: int = 16, **sampling: Any) -> Answer:
    return collect(
        stub.Decode(api.DecodeRequest(session=session, sampling=api.Sampling(max_new_tokens=new, **sampling)))
    )
