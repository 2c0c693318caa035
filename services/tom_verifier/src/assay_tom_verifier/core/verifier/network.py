"""The causal transformer behind small generators and verifiers: one position a line, one a belief slot."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay_tom_verifier.core.stories.beliefs import Question
from assay_tom_verifier.core.stories.events import Story
from assay_tom_verifier.core.verifier import vocabulary as V
from assay_tom_verifier.core.verifier.encode import EncodedQuestion, encode_question


@dataclass(frozen=True)
class NetworkShape:
    width: int
    layers: int
    heads: int

    def to_json(self) -> dict[str, int]:
        return dataclasses.asdict(self)


class Cache:
    """Keys and values of the positions read so far, per layer; [B, heads, capacity, width / heads] each."""

    def __init__(self, shape: NetworkShape, batch: int, capacity: int, dtype: torch.dtype) -> None:
        size = (batch, shape.heads, capacity, shape.width // shape.heads)
        self.keys = [torch.empty(size, dtype=dtype) for _ in range(shape.layers)]
        self.values = [torch.empty(size, dtype=dtype) for _ in range(shape.layers)]
        self.length = 0

    def reorder(self, rows: Tensor) -> None:
        """Keeps row `rows[i]` as row i; rows: [B'] int64."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]


class BeliefNetwork(nn.Module):
    """Reads a question, then line and belief slot by turns; says after each line what is believed, or after each slot
    whether all slots so far are right.

    The layers are Llama's (RMSNorm before each part, no biases, SwiGLU), but distances enter as ALiBi's linear
    penalties (Press et al., arXiv:2108.12409): stories longer than those trained on are what it is tested on.
    A position sees earlier positions alone, and no position tells anything of a label or score.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.features = nn.Parameter(torch.randn(V.FEATURES, shape.width) * 0.3)
        self.slots = nn.Parameter(torch.randn(V.BELIEFS, shape.width) * 0.3)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width)
        self.beliefs = nn.Linear(shape.width, V.PREDICTED, bias=False)
        self.verdicts = nn.Linear(shape.width, 2, bias=False)  # plus, minus

    def encode(self, story: Story, question: Question) -> EncodedQuestion:
        """A question as the network takes it; what `encode_question` raises."""
        return encode_question(story, question)

    def embed_lines(self, features: Tensor) -> Tensor:
        """features: [..., FEATURES] uint8 -> [..., width]."""
        return features.to(self.features.dtype) @ self.features

    def embed_slots(self, claims: Tensor) -> Tensor:
        """claims: [...] int64 -> [..., width]."""
        return F.embedding(claims, self.slots)

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """An empty cache for up to `capacity` positions of `batch` sequences."""
        return Cache(self.shape, batch, capacity, self.slots.dtype)

    def run(self, hidden: Tensor, cache: Cache | None = None) -> Tensor:
        """hidden: [B, S, width], positions that follow those in `cache`; returns [B, S, width] before the heads."""
        past = 0 if cache is None else cache.length
        bias = _bias(self.shape.heads, past, hidden.shape[1]).to(hidden.dtype)
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden, bias, cache, index)
        if cache is not None:
            cache.length += hidden.shape[1]
        normed: Tensor = self.norm(hidden)
        return normed

    def read(self, features: Tensor, claims: Tensor) -> tuple[Tensor, Tensor]:
        """States after each line and after each belief slot, [B, T, width] both, in one pass.

        features: [B, 1 + T, FEATURES] uint8; claims: [B, T] int64.
        """
        return self.read_on(self.embed_lines(features), claims)

    def read_on(self, lines: Tensor, claims: Tensor) -> tuple[Tensor, Tensor]:
        """As `read`, of lines that are embedded already: [B, 1 + T, width]."""
        slots = self.embed_slots(claims)
        pairs = torch.stack((lines[:, 1:], slots), dim=2).flatten(1, 2)  # line, slot, line, slot ...
        states = self.run(torch.cat((lines[:, :1], pairs), dim=1))
        return states[:, 1::2], states[:, 2::2]

    def margins(self, slot_states: Tensor) -> Tensor:
        """[..., width] -> [...]: the logit of plus less that of minus, in nats."""
        verdicts = self.verdicts(slot_states)
        difference: Tensor = verdicts[..., 0] - verdicts[..., 1]
        return difference

    def flops_per_position(self) -> int:
        """Additions and multiplications of a forward pass at one position: the layers' matrices and one head.

        Attention's own sums are left out: at a few dozen positions they are a small part.
        """
        matrices = sum(each.numel() for each in self.layers.parameters() if each.dim() == 2)
        return 2 * (matrices + self.beliefs.weight.numel())


class _Layer(nn.Module):
    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        width, inner = shape.width, 2 * shape.width
        self.heads = shape.heads
        self.before_attention, self.before_mlp = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, hidden: Tensor, bias: Tensor, cache: Cache | None, index: int) -> Tensor:
        batch, length, width = hidden.shape
        qkv = self.qkv(self.before_attention(hidden)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, S, width / heads]
        if cache is not None:
            end = cache.length + length
            cache.keys[index][:, :, cache.length : end] = key
            cache.values[index][:, :, cache.length : end] = value
            key, value = cache.keys[index][:, :, :end], cache.values[index][:, :, :end]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        hidden = hidden + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.gate_up(self.before_mlp(hidden)).chunk(2, dim=-1)
        raised: Tensor = hidden + self.down(F.silu(gate) * up)
        return raised


def new_network(shape: NetworkShape, seed: int) -> BeliefNetwork:
    """Weights drawn from `seed` alone, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BeliefNetwork(shape).eval()


def _bias(heads: int, past: int, length: int) -> Tensor:
    """[heads, length, past + length]: minus slope times distance, minus infinity for what comes later.

    Half of the heads have no slope: who left before whom is read at any distance.
    """
    slopes = torch.tensor([0.0 if head % 2 else math.pow(2.0, -1 - head) for head in range(heads)])
    distance = torch.arange(past, past + length)[:, None] - torch.arange(past + length)[None, :]
    penalty = -slopes[:, None, None] * distance
    return penalty.masked_fill(distance < 0, float("-inf"))
