"""Risk control: how often a calibrated threshold breaks its word, and what it saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from assay_inference_optimizer.core.early_exit.bounds import hoeffding_bentkus
from assay_inference_optimizer.core.early_exit.calibrate import certified, plug_in, prompt_losses
from assay_inference_optimizer.core.early_exit.curves import saving
from assay_inference_optimizer.core.early_exit.exit_profile import ExitProfile, Floats
from assay_inference_optimizer.core.early_exit.rules import Rule
from bench.moe_parts.tables import show, verdict

EPSILON, DELTA, DRAWS, PROMPTS = 0.02, 0.05, 1000, 1000


@dataclass(frozen=True)
class RiskRow:
    """violations: share of draws whose threshold's true risk is above epsilon. gross: mean saving of layers.
    of_oracle: that by the saving of the boldest threshold whose true risk is within epsilon.
    """

    model: str
    workload: str
    rule: str
    method: str
    violations: float
    gross: float
    net: float
    of_oracle: float


def measure_risk(model: str, workload: str, population: ExitProfile, rule: Rule) -> list[RiskRow]:
    """The prompts profiled are the population, whose risks are thereby known; each draw takes PROMPTS of them with
    replacement, calibrates, and is held against the population.
    """
    losses, sums = prompt_losses(population, rule), population.rules[rule]
    risks, tokens = losses.mean(axis=0), population.tokens.sum()
    savings = [
        saving(population, depth / tokens, heads / tokens)
        for depth, heads in zip(sums.depth.sum(axis=0), sums.heads.sum(axis=0), strict=True)
    ]
    oracle = plug_in(losses, EPSILON)
    most = savings[oracle].gross if oracle is not None else 0.0
    methods: dict[str, Callable[[Floats], int | None]] = {
        "betting, fixed sequence": lambda drawn: certified(drawn, EPSILON, DELTA),
        "Hoeffding-Bentkus": lambda drawn: _first_failure(hoeffding_bentkus(drawn, EPSILON) > DELTA),
        "naive plug-in": lambda drawn: plug_in(drawn, EPSILON),
    }
    random = np.random.default_rng(0)
    chosen: dict[str, list[int | None]] = {name: [] for name in methods}
    for _ in range(DRAWS):
        drawn = losses[random.integers(0, population.prompts, PROMPTS)]
        for name, choose in methods.items():
            chosen[name].append(choose(drawn))
    rows = [RiskRow(model, workload, rule.value, "oracle threshold", 0.0, most, _net(savings, oracle), 1.0)]
    for name, indices in chosen.items():
        gross = float(np.mean([0.0 if index is None else savings[index].gross for index in indices]))
        rows.append(
            RiskRow(
                model, workload, rule.value, name,
                float(np.mean([index is not None and risks[index] > EPSILON for index in indices])),
                gross, float(np.mean([_net(savings, index) for index in indices])), gross / most if most else 0.0,
            )
        )  # fmt: skip
    return rows


def print_risk(rows: list[RiskRow]) -> bool:
    """Whether the bar is met: violations <= 6.5 %, saving >= 80 % of the oracle threshold's."""
    show(
        f"Risk control: epsilon {EPSILON}, delta {DELTA}, {DRAWS} draws of {PROMPTS} prompts",
        ("model", "workload", "rule", "method", "violations", "layers saved", "net", "of oracle"),
        [
            (
                row.model, row.workload, row.rule, row.method, f"{row.violations:.1%}", f"{row.gross:.1%}",
                f"{row.net:+.1%}", f"{row.of_oracle:.0%}",
            )
            for row in rows
        ],
        "violations: draws whose threshold changes more than epsilon of the population's tokens, by prompt.",
    )  # fmt: skip
    ours = [row for row in rows if row.method.startswith("betting")]
    met = all(row.violations <= 0.065 and row.of_oracle >= 0.8 for row in ours)
    print(f"violations <= 6.5 % and >= 80 % of the oracle threshold's saving: {verdict(met)}")
    return met


def _net(savings: list, index: int | None) -> float:
    return 0.0 if index is None else float(savings[index].net)


def _first_failure(failed: np.ndarray) -> int | None:
    first = int(failed.argmax()) if failed.any() else len(failed)
    return first - 1 if first else None
