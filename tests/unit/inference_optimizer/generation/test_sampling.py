"""How tokens are chosen: exactly what is allowed, as often as it should be."""

from __future__ import annotations

import math

import pytest
import torch

from assay.errors import InvalidInput
from assay_inference_optimizer.core.generation.sampling import Sampling, choose

PROBABILITIES = torch.tensor([0.05, 0.4, 0.25, 0.2, 0.1])


def drawn(sampling: Sampling, draws: int = 4000) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    chosen = [choose(PROBABILITIES.log(), sampling, random) for _ in range(draws)]
    return torch.bincount(torch.tensor(chosen), minlength=5) / draws


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1, temperature=1.0), [0.05, 0.4, 0.25, 0.2, 0.1]),
        (Sampling(1, temperature=1.0, top_k=2), [0, 0.4 / 0.65, 0.25 / 0.65, 0, 0]),
        # 0.4 + 0.25 reach 0.6; 0.4 alone does not.
        (Sampling(1, temperature=1.0, top_p=0.6), [0, 0.4 / 0.65, 0.25 / 0.65, 0, 0]),
        (Sampling(1, temperature=1.0, top_p=0.4), [0, 1, 0, 0, 0]),
        (Sampling(1, temperature=1.0, top_p=1.0), [0.05, 0.4, 0.25, 0.2, 0.1]),
        # Of the three likeliest, those that make up 0.7 of their sum of 0.85: 0.4 + 0.25 = 0.76 of it.
        (Sampling(1, temperature=1.0, top_k=3, top_p=0.7), [0, 0.4 / 0.65, 0.25 / 0.65, 0, 0]),
        # p ** 2, renormalised.
        (Sampling(1, temperature=0.5), [v**2 / 0.275 for v in (0.05, 0.4, 0.25, 0.2, 0.1)]),
    ],
)
def test_tokens_come_as_often_as_they_should(sampling: Sampling, expected: list[float]) -> None:
    # Four standard errors of 4,000 draws are at most 0.032; a seed is fixed.
    assert drawn(sampling).tolist() == pytest.approx(expected, abs=0.032)
    assert [frequency > 0 for frequency in drawn(sampling)] == [share > 0 for share in expected]


def test_ties_go_to_the_lower_id() -> None:
    random = torch.Generator()
    assert choose(torch.tensor([1.0, 3.0, 3.0]), Sampling(1), random) == 1
    assert choose(torch.zeros(4), Sampling(1, temperature=1.0, top_k=1), random) == 0


def test_a_tiny_temperature_is_greedy_and_not_a_number_of_none() -> None:
    assert choose(torch.tensor([5.0, 900.0, 899.0]), Sampling(1, temperature=1e-6), torch.Generator()) == 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"temperature": math.nan}, "temperature"), ({"top_p": -0.1}, "top_p"), ({"stop": ("x" * 1001,)}, "stop[0]")],
)
def test_what_cannot_be_is_named(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Sampling(1, **fields).check()  # type: ignore[arg-type]
    assert caught.value.violations[0].field == f"sampling.{named}"
