"""What a model takes of a GPU's memory: its weights, and keys and values for each token that it holds."""

from __future__ import annotations

from dataclasses import dataclass

from assay.errors import InvalidInput

GIB = 2**30
DTYPE_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "float8": 1.0, "int8": 1.0, "int4": 0.5}


@dataclass(frozen=True)
class Model:
    """parameters: of all weights, experts included. kv_heads, head_dim: of each of `layers` that keep a cache."""

    name: str
    parameters: float
    layers: int
    kv_heads: int
    head_dim: int
    dtype: str = "bfloat16"
    kv_dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        for field, value in (("dtype", self.dtype), ("kv_dtype", self.kv_dtype)):
            if value not in DTYPE_BYTES:
                raise InvalidInput(
                    f"models.{self.name}.{field}", f"is {value!r}; one of {', '.join(sorted(DTYPE_BYTES))}"
                )

    @property
    def weight_bytes(self) -> float:
        return self.parameters * DTYPE_BYTES[self.dtype]

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values of one token in all layers: 2 * layers * kv_heads * head_dim * bytes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * DTYPE_BYTES[self.kv_dtype]


@dataclass(frozen=True)
class MemoryFit:
    """Bytes on the GPUs of one replica. room: sequences of `tokens` tokens that fit beside the weights."""

    weight_bytes: float
    sequence_bytes: float
    usable_bytes: float
    room: int


def memory_fit(
    model: Model, *, gpus: int, gpu_bytes: float, usable: float, reserve_bytes: float, tokens: float
) -> MemoryFit:
    """How a replica of `model` over `gpus` GPUs of gpu_bytes fills them.

    usable: share of the memory that may be planned with. reserve_bytes: of each GPU, for the CUDA context and
    activations. tokens: prompt and answer of one sequence. Raises InvalidInput where the weights alone do not fit.
    """
    total = gpus * (gpu_bytes * usable - reserve_bytes)
    left = total - model.weight_bytes
    sequence = model.kv_bytes_per_token * tokens
    if left < sequence:
        raise InvalidInput(
            "gpus",
            f"{gpus} x {gpu_bytes / GIB:.0f} GiB leave {total / GIB:.1f} GiB, and {model.name} takes "
            f"{model.weight_bytes / GIB:.1f} GiB and {sequence / GIB:.2f} GiB a sequence; give the replica more GPUs, "
            "a larger one or a smaller dtype",
        )
    return MemoryFit(model.weight_bytes, sequence, total, int(left // sequence) if sequence else 2**31)
