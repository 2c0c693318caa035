from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import Cancelled, InvalidInput
from assay.models.windows import Windows
from assay_tom_verifier.core.sensitivity.gradient_squares import Sample, gradient_squares, sample_loss
from assay_tom_verifier.core.sensitivity.matrices import matrices


def _samples(windows: Windows) -> list[Sample]:
    return [Sample(ids, torch.tensor([5, 11])) for ids in windows.ids]


def _reference(model: PreTrainedModel, samples: list[Sample]) -> dict[str, torch.Tensor]:
    """Plain backward, a sample at a time, its square taken before it is added."""
    sums = {name: torch.zeros_like(weight) for name, weight in matrices(model).items()}
    for sample in samples:
        model.zero_grad()
        logits = model(sample.ids[None]).logits[0]
        F.cross_entropy(logits[sample.supervised - 1], sample.ids[sample.supervised]).backward()
        for name, weight in matrices(model).items():
            sums[name] += weight.grad**2
    model.zero_grad()
    return sums


@pytest.mark.parametrize("family", ["llama", "without_rope", "gpt2"])
def test_squares_are_those_of_each_samples_own_gradient(
    family: str, windows: Windows, request: pytest.FixtureRequest
) -> None:
    model, samples = request.getfixturevalue(family), _samples(windows)
    expected = _reference(model, samples)
    found = gradient_squares(model, samples, cancel=CancelToken())
    assert set(found) == set(expected)
    assert all(values.dtype == torch.float32 for values in found.values())
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=2e-5, atol=1e-12)


def test_the_square_of_the_summed_gradient_is_another_thing(llama: PreTrainedModel, windows: Windows) -> None:
    # Of six unrelated samples, the squared sum has the cross terms too: it must not pass for the sum of squares.
    samples = _samples(windows)
    found = gradient_squares(llama, samples, cancel=CancelToken())
    weights = matrices(llama)
    total = sum(sample_loss(llama, sample) for sample in samples)
    batched = torch.autograd.grad(total, list(weights.values()))
    apart = [
        ((gradient**2 - found[name]).abs() > 0.1 * found[name]).float().mean().item()
        for name, gradient in zip(weights, batched, strict=True)
    ]
    assert min(apart) > 0.5


def test_nothing_of_the_model_is_changed(llama: PreTrainedModel, windows: Windows) -> None:
    before = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    gradient_squares(llama, _samples(windows), cancel=CancelToken())
    assert all(torch.equal(before[name], tensor) for name, tensor in llama.state_dict().items())
    assert all(parameter.grad is None for parameter in llama.parameters())


def test_every_linear_map_of_the_layers_is_looked_at_and_no_embedding(llama: PreTrainedModel) -> None:
    kinds = {name.rsplit(".", 2)[-2] for name in matrices(llama)}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert len(matrices(llama)) == 14


def test_weights_in_less_than_float32_are_refused(llama: PreTrainedModel, windows: Windows) -> None:
    with pytest.raises(InvalidInput, match="float32"):
        gradient_squares(llama.to(torch.bfloat16), _samples(windows), cancel=CancelToken())


def test_no_samples_and_weights_that_are_not_finite_are_refused(llama: PreTrainedModel, windows: Windows) -> None:
    with pytest.raises(InvalidInput, match="samples: are none"):
        gradient_squares(llama, [], cancel=CancelToken())
    with torch.no_grad():
        llama.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(InvalidInput, match="not finite"):
        gradient_squares(llama, _samples(windows), cancel=CancelToken())


def test_a_cancelled_scan_stops_at_the_next_sample(llama: PreTrainedModel, windows: Windows) -> None:
    cancel = CancelToken()
    seen = []

    def samples():  # type: ignore[no-untyped-def]
        for sample in _samples(windows):
            seen.append(sample)
            if len(seen) == 2:
                cancel.cancel()
            yield sample

    with pytest.raises(Cancelled):
        gradient_squares(llama, samples(), cancel=cancel)
    assert len(seen) == 2
