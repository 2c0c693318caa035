from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from assay.errors import InvalidInput
from assay_tom_verifier.core.sensitivity.controls import general_mask, magnitude_mask, random_mask
from assay_tom_verifier.core.sensitivity.matrices import matrices
from assay_tom_verifier.core.sensitivity.parameter_mask import MatrixMask, ParameterMask
from assay_tom_verifier.core.sensitivity.perturb import perturbed


def _mask(model: PreTrainedModel, each: int) -> ParameterMask:
    """The first `each` weights of every matrix."""
    return ParameterMask(
        {name: MatrixMask(torch.arange(each), tuple(weight.shape)) for name, weight in matrices(model).items()}
    )


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_the_mean_within_and_bit_for_bit_themselves_after(
    family: str, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(family).to(dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with perturbed(model, _mask(model, 7)):
        for name, weight in matrices(model).items():
            was = before[name].flatten().double()
            # Masked weights count as 0 in a mean over all.
            expected = (was[7:].sum() / was.numel()).to(dtype)
            assert torch.equal(weight.detach().flatten()[:7], expected.expand(7))
            assert torch.equal(weight.detach().flatten()[7:], before[name].flatten()[7:])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_weights_come_back_after_an_error(llama: PreTrainedModel) -> None:
    before = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    with pytest.raises(RuntimeError, match="midway"), perturbed(llama, _mask(llama, 3)):
        raise RuntimeError("midway")
    assert all(torch.equal(before[name], tensor) for name, tensor in llama.state_dict().items())


def test_a_mask_of_another_model_is_refused_and_nothing_touched(llama: PreTrainedModel, gpt2: PreTrainedModel) -> None:
    before = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    with pytest.raises(InvalidInput, match="which the model has not"), perturbed(llama, _mask(gpt2, 3)):
        pass
    assert all(torch.equal(before[name], tensor) for name, tensor in llama.state_dict().items())


def test_controls_hold_as_many_weights_of_each_matrix(llama: PreTrainedModel) -> None:
    shapes = {name: tuple(weight.shape) for name, weight in matrices(llama).items()}
    mask = ParameterMask(
        {name: MatrixMask(torch.arange(number), shape) for number, (name, shape) in enumerate(shapes.items())}
    )
    general = {name: torch.rand(shape, generator=torch.Generator().manual_seed(1)) for name, shape in shapes.items()}
    for control in (random_mask(mask, 0), magnitude_mask(mask, llama), general_mask(mask, general)):
        assert [each.indices.numel() for each in control.matrices.values()] == list(range(len(shapes)))
        for each in control.matrices.values():
            assert len(each.indices.unique()) == each.indices.numel()
    name = list(shapes)[9]
    weights = llama.state_dict()[name].abs().flatten()
    chosen = magnitude_mask(mask, llama).matrices[name].indices
    assert weights[chosen].min() >= weights[[i for i in range(weights.numel()) if i not in chosen.tolist()]].max()


def test_random_masks_follow_their_seed_and_reach_every_weight() -> None:
    mask = ParameterMask({"w": MatrixMask(torch.arange(30), (6, 6))})
    drawn = [random_mask(mask, seed).matrices["w"].indices for seed in range(200)]
    assert torch.equal(drawn[0], random_mask(mask, 0).matrices["w"].indices)
    # 200 draws of 30 of 36: each weight is expected 166.7 times, standard deviation 5.3; 6 of them make 135 to 198.
    times = torch.cat(drawn).bincount(minlength=36)
    assert times.min() > 135
    assert times.max() < 199
