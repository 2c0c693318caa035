"""What a recipe's model is asked to predict, and the loss of its answers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from assay.models.predict import predict, token_nats
from assay.zoo.recipes import Recipe


def window_length(recipe: Recipe) -> int:
    """Tokens of one training window: a causal model needs one more than it predicts."""
    return recipe.sequence_length + (0 if recipe.encoder_decoder else 1)


def losses(recipe: Recipe, model: nn.Module, windows: Tensor, *, balance: bool) -> tuple[Tensor, Tensor | None]:
    """Cross-entropy of every predicted token, and the routers' balancing loss where `balance` asks for it.

    windows: [B, window_length] int64; what of them is predicted says `assay.models.predict`. Returns
    ([B, predicted] float32 nats, scalar or None).
    """
    output, targets = predict(model, windows, **({"output_router_logits": True} if balance else {}))
    nats = token_nats(output.logits, targets)
    return nats, _balance_loss(recipe, output) if balance else None


def _balance_loss(recipe: Recipe, output: Any) -> Tensor:
    """1 for perfectly even routing; summed over encoder and decoder where there are both, with Switch's z-loss."""
    if not recipe.encoder_decoder:
        causal_loss: Tensor = output.aux_loss
        return causal_loss
    z_share = recipe.config["router_z_loss_coef"] / recipe.auxiliary_loss
    z_loss: Tensor = output.encoder_z_loss + output.decoder_z_loss
    aux_loss: Tensor = output.encoder_aux_loss + output.decoder_aux_loss
    return aux_loss.add(z_loss, alpha=z_share)
