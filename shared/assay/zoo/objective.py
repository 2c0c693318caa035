"""What a recipe's model is asked to predict, and the loss of its answers."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from assay.errors import Unimplemented
from assay.models.predict import predict, token_nats
from assay.zoo.recipe import Recipe

# Of the earlier layers every fourth answers at a step, in turn: a head over the vocabulary costs as much as a layer.
EXIT_ROTATION = 4


def window_length(recipe: Recipe) -> int:
    """Tokens of one window that is measured on: a causal model needs one more than it predicts."""
    return recipe.sequence_length + (0 if recipe.encoder_decoder else 1)


def losses(recipe: Recipe, model: nn.Module, windows: Tensor, *, balance: bool) -> tuple[Tensor, Tensor | None]:
    """Cross-entropy of every predicted token, and the routers' balancing loss where `balance` asks for it.

    windows: [B, window_length] int64; what of them is predicted says `assay.models.predict`. Returns
    ([B, predicted] float32 nats, scalar or None).
    """
    output, targets = predict(model, windows, **({"output_router_logits": True} if balance else {}))
    nats = token_nats(output.logits, targets)
    return nats, _balance_loss(recipe, output) if balance else None


def training_loss(
    recipe: Recipe, model: nn.Module, windows: Tensor, counted: Tensor | None, step: int
) -> tuple[Tensor, Tensor]:
    """What a step goes down on, and the cross-entropy alone: scalars, in nats per counted token.

    counted: [B, P] bool, the predicted tokens that are learned; None: all. Unimplemented where earlier layers are to
    answer and the architecture has no final norm that they could share.
    """
    options = {"output_router_logits": recipe.auxiliary_loss > 0} if recipe.auxiliary_loss > 0 else {}
    if recipe.exit_loss > 0:
        options["output_hidden_states"] = True
    output, targets = predict(model, windows, **options)
    loss = _mean(token_nats(output.logits, targets), counted)
    total = loss
    if recipe.auxiliary_loss > 0:
        total = total + recipe.auxiliary_loss * _balance_loss(recipe, output)
    if recipe.exit_loss > 0:
        total = total + recipe.exit_loss * _exit_loss(model, output.hidden_states, targets, counted, step)
    return total, loss


def _mean(nats: Tensor, counted: Tensor | None) -> Tensor:
    return nats.mean() if counted is None else (nats * counted).sum() / counted.sum()


def _exit_loss(
    model: Any, hidden_states: tuple[Tensor, ...], targets: Tensor, counted: Tensor | None, step: int
) -> Tensor:
    """Mean cross-entropy of this step's share of the earlier layers, weighted by their depth; scalar nats.

    hidden_states: the embeddings', then each layer's [B, P, width]; the last one is the model's own answer.
    """
    norm = getattr(getattr(model, "model", None), "norm", None)
    if norm is None:
        raise Unimplemented(f"exit losses of {model.config.model_type}: it has no final norm that earlier layers share")
    layers = [layer for layer in range(1, len(hidden_states) - 1) if (layer + step) % EXIT_ROTATION == 0]
    total = targets.new_zeros((), dtype=hidden_states[0].dtype)
    for layer in layers:
        logits = F.linear(norm(hidden_states[layer]), model.get_output_embeddings().weight)
        total = total + layer / sum(layers) * _mean(token_nats(logits, targets), counted)
    return total


def _balance_loss(recipe: Recipe, output: Any) -> Tensor:
    """1 for perfectly even routing; summed over encoder and decoder where there are both, with Switch's z-loss."""
    if not recipe.encoder_decoder:
        causal_loss: Tensor = output.aux_loss
        return causal_loss
    z_share = recipe.config["router_z_loss_coef"] / recipe.auxiliary_loss
    z_loss: Tensor = output.encoder_z_loss + output.decoder_z_loss
    aux_loss: Tensor = output.encoder_aux_loss + output.decoder_aux_loss
    return aux_loss.add(z_loss, alpha=z_share)
