"""The parts of a causal decoder that early exit needs, found without touching its config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from assay.errors import InvalidInput, Unimplemented

_NORMS = ("norm", "norm_f", "final_layernorm", "final_layer_norm", "ln_f")


@dataclass(frozen=True)
class Parts:
    """embed: ids to the residual before layer 1; layers: L of them; norm, head: residual to logits."""

    body: Any
    embed: Any
    layers: nn.ModuleList
    norm: nn.Module
    head: Any

    @property
    def vocabulary(self) -> int:
        """V, padding of the matrix included."""
        return int(self.head.weight.shape[0])

    @property
    def depth(self) -> int:
        """L."""
        return len(self.layers)

    def logits(self, hidden: Tensor) -> Tensor:
        """The logit lens: z_l = W_U norm(h_l). hidden: [..., h] residual after any layer. Returns [..., V] float32."""
        normed = self.norm(hidden)
        logits: Tensor = self.head(normed.to(self.head.weight.dtype)).float()
        return logits

    def check_exit(self, layer: int, field: str = "exit_layer") -> int:
        """InvalidInput unless 1 <= layer <= L - 1: an exit after all layers saves nothing."""
        if not 1 <= layer < self.depth:
            raise InvalidInput(
                field, f"is {layer}; this model of {self.depth} layers exits after 1 to {self.depth - 1}"
            )
        return layer


def parts_of(model: Any) -> Parts:
    """Unimplemented for models that are no stack of layers between an embedding and one final norm."""
    body = model.base_model
    layers = getattr(body, "layers", None)
    norm = next((found for name in _NORMS if isinstance(found := getattr(body, name, None), nn.Module)), None)
    head, embed = model.get_output_embeddings(), model.get_input_embeddings()
    if model.config.is_encoder_decoder or not isinstance(layers, nn.ModuleList) or norm is None or not (head and embed):
        raise Unimplemented(
            f"model: {type(model).__name__} is no causal stack of layers with one final norm and an output head; "
            "early exit needs one",
            reason="NO_LAYER_STACK",
        )
    if getattr(model.config, "final_logit_softcapping", None):
        # Small logits of a fresh model would not show it.
        raise Unimplemented("model: caps its logits after the head, which early exit does not", reason="CAPPED_LOGITS")
    return Parts(body, embed, layers, norm, head)
