"""The loss of exits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from assay.errors import InvalidInput
from assay_inference_optimizer.core.early_exit.exit_loss import exit_loss
from assay_inference_optimizer.core.early_exit.parts import parts_of


def test_exits_add_their_cross_entropy_by_weight(family: PreTrainedModel, tokens: Tensor) -> None:
    usual = F.cross_entropy(family(input_ids=tokens[:, :-1]).logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss, last = exit_loss(family, tokens, {})
    assert loss is last
    torch.testing.assert_close(last, usual)
    one, _ = exit_loss(family, tokens, {1: 1.0})
    both, _ = exit_loss(family, tokens, {1: 1.0, 3: 0.5})
    three, _ = exit_loss(family, tokens, {3: 1.0})
    torch.testing.assert_close(both, one + 0.5 * (three - last))


def test_an_exits_loss_reaches_no_layer_above_it(family: PreTrainedModel, tokens: Tensor) -> None:
    loss, last = exit_loss(family, tokens, {2: 1.0})
    (loss - last).backward()

    def moved(layer: torch.nn.Module) -> bool:
        return any(p.grad is not None and bool(p.grad.abs().max() > 1e-6) for p in layer.parameters())

    assert [moved(layer) for layer in parts_of(family).layers] == [True, True, False, False]


def test_an_exit_after_all_layers_is_no_exit(family: PreTrainedModel, tokens: Tensor) -> None:
    with pytest.raises(InvalidInput, match="1 to 3"):
        exit_loss(family, tokens, {4: 1.0})
