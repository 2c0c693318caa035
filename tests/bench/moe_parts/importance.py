"""What does importance know? Claim (ii), and what ruining experts in the order of each score does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from assay_moe_router.core.damage import DamageMeter, order_of
from assay_moe_router.core.importance import Importance, Metric
from assay_moe_router.core.one_pass import one_pass
from assay_moe_router.core.stability import rank_agreement
from assay_moe_router.core.statistics import Floats
from bench.moe_parts.intervals import Interval, of_mean, over_seeds
from bench.moe_parts.subject import BATCH, CANCEL, SEQUENCES, Subject, part, spread
from bench.moe_parts.tables import show, verdict

LOO = Metric.LEAVE_ONE_OUT_LOSS
RIVALS = (Metric.FREQUENCY, Metric.ACTIVATION_NORM, Metric.WANDA_ROW)
RANDOM_ORDERS = 20
DAMAGED_SEQUENCES = 64
FEW = 2
RESAMPLES = 2_000
# An expert below this part of its fair share of tokens hardly counts as used.
USED = 0.1


@dataclass(frozen=True)
class AgreementRow:
    """Spearman of frequency with leave-one-out, of all experts and of those in use; on the calibration split."""

    recipe: str
    seed: int
    layer: int
    all_experts: Interval
    in_use: Interval
    experts_in_use: int
    busiest_rank: int
    most_important_frequency_rank: int


@dataclass(frozen=True)
class DamageRow:
    """areas: mean over sequences, by metric; random: of each random order. least_first, most_first: leave-one-out's
    curves, nats. *_by_sequence: [S] and [20, S].
    """

    recipe: str
    seed: int
    areas: dict[str, float]
    random: tuple[float, ...]
    least_first: Floats
    most_first: Floats
    least_two: Floats = field(metadata={"written": False})
    most_two: Floats = field(metadata={"written": False})
    area_by_sequence: dict[str, Floats] = field(metadata={"written": False})
    random_by_sequence: Floats = field(metadata={"written": False})


def measure_agreement(subject: Subject) -> list[AgreementRow]:
    rows = []
    for layer in subject.importance.layers:
        assert layer.per_sequence is not None
        routing = subject.statistics.layer(layer.layer)
        counts = routing.counts.T.astype(np.float64)
        used = np.flatnonzero(routing.loads >= USED * routing.loads.mean())
        rows.append(
            AgreementRow(
                subject.recipe,
                subject.seed,
                layer.layer,
                _spearman(counts, layer.per_sequence),
                _spearman(counts[used], layer.per_sequence[used]),
                len(used),
                int(np.sum(layer.scores > layer.scores[np.argmax(routing.loads)])) + 1,
                int(np.sum(routing.loads > routing.loads[np.argmax(layer.scores)])) + 1,
            )
        )
    return rows


def measure_damage(subject: Subject) -> DamageRow:
    """Importance from the calibration split, damage on a part of the test split."""
    windows = part(subject.test, spread(subject.test.sequences, DAMAGED_SEQUENCES))
    meter = DamageMeter(subject.model, windows, batch=BATCH, cancel=CANCEL)
    scored: dict[Metric, Importance] = {
        LOO: subject.importance,
        **{each: one_pass(subject.model, subject.calibration, each, batch=BATCH, cancel=CANCEL) for each in RIVALS},
    }
    curves = {
        metric.value: meter.curve(order_of({layer.layer: layer.scores for layer in found.layers}))
        for metric, found in scored.items()
    }
    random = np.stack([meter.curve(meter.random_order(seed)).area for seed in range(RANDOM_ORDERS)])
    ours = curves[LOO.value]
    return DamageRow(
        recipe=subject.recipe,
        seed=subject.seed,
        areas={name: float(curve.area.mean()) for name, curve in curves.items()},
        random=tuple(random.mean(axis=1).tolist()),
        least_first=ours.least_first.mean(axis=1),
        most_first=ours.most_first.mean(axis=1),
        least_two=ours.least_first[FEW],
        most_two=ours.most_first[FEW],
        area_by_sequence={name: curve.area for name, curve in curves.items()},
        random_by_sequence=random,
    )


def print_agreement(rows: Sequence[AgreementRow]) -> dict[str, object]:
    show(
        f"3a. Claim (ii), frequency does not tell importance: Spearman of frequency with leave-one-out loss on "
        f"{SEQUENCES} calibration sequences [95 % bootstrap over sequences]",
        ["model", "seed", "layer", "all experts", "experts in use", "in use", "importance rank of the busiest",
         "frequency rank of the most important"],
        [
            [
                row.recipe,
                row.seed,
                row.layer,
                row.all_experts.shown(2),
                row.in_use.shown(2),
                row.experts_in_use,
                row.busiest_rank,
                row.most_important_frequency_rank,
            ]
            for row in rows
        ],
        f"in use: at least {USED:.0%} of the fair share of tokens; experts that nobody chooses agree of themselves.",
        "Mean [least, most] over layers and seeds, all experts: "
        + "; ".join(f"{recipe} {over_seeds(found['all_experts'])}" for recipe, found in _by_recipe(rows).items())
        + ".",
    )  # fmt: skip
    return _by_recipe(rows)


def _by_recipe(rows: Sequence[AgreementRow]) -> dict[str, dict[str, list[float]]]:
    return {
        recipe: {
            "all_experts": [row.all_experts.mean for row in rows if row.recipe == recipe],
            "in_use": [row.in_use.mean for row in rows if row.recipe == recipe],
        }
        for recipe in dict.fromkeys(row.recipe for row in rows)
    }


def print_damage(rows: Sequence[DamageRow]) -> dict[str, object]:
    names = [LOO.value, *(metric.value for metric in RIVALS)]
    show(
        f"3b. Area between the cumulative int2-damage curves (most important first minus least important first), mean "
        f"nats per token over depths, on {DAMAGED_SEQUENCES} test sequences",
        ["model", "seed", *names, f"{RANDOM_ORDERS} random orders, mean [least, most]"],
        [
            [
                row.recipe,
                row.seed,
                *(f"{row.areas[name]:.4f}" for name in names),
                f"{np.mean(row.random):+.4f} [{min(row.random):+.4f}, {max(row.random):+.4f}]",
            ]
            for row in rows
        ],
    )
    lines, summary = [], {}
    for recipe in dict.fromkeys(row.recipe for row in rows):
        group = [row for row in rows if row.recipe == recipe]
        against_random = _minus_random(
            np.stack([row.area_by_sequence[LOO.value] for row in group]),
            np.stack([row.random_by_sequence for row in group]),
        )
        beaten = sum(row.areas[LOO.value] > area for row in group for area in row.random)
        differences = {
            metric.value: of_mean(
                np.mean([row.area_by_sequence[LOO.value] - row.area_by_sequence[metric.value] for row in group], axis=0)
            )
            for metric in RIVALS
        }
        lines.append(
            [
                recipe,
                against_random.shown(4),
                verdict(against_random.low > 0),
                f"{beaten}/{len(group) * RANDOM_ORDERS}",
                *(found.shown(4) for found in differences.values()),
            ]
        )
        summary[recipe] = {
            "minus_random": against_random,
            "minus_random_met": against_random.low > 0,
            **{f"minus_{name}": found for name, found in differences.items()},
        }
    show(
        "3c. Leave-one-out's area minus the others', seeds averaged [95 % bootstrap over sequences; for random over "
        "sequences and orders]; bar: above random with an interval that excludes zero",
        ["model", "minus random", "bar", "random orders beaten", *(f"minus {metric.value}" for metric in RIVALS)],
        lines,
        "Positive: leave-one-out orders the experts better.",
    )
    lines = []
    for row in rows:
        least, most = of_mean(row.least_two), of_mean(row.most_two)
        factor = most.mean / least.mean if least.mean > 0 else float("inf")
        shown = f"{factor:.0f}x" if np.isfinite(factor) else "- (least does no harm)"
        lines.append([row.recipe, row.seed, least.shown(5), most.shown(4), shown])
        summary[row.recipe].setdefault("least_two_nats", []).append(least.mean)
        summary[row.recipe].setdefault("most_two_nats", []).append(most.mean)
    show(
        f"3d. int2 on the {FEW} least and the {FEW} most important experts of every layer by leave-one-out: rise in "
        "loss, nats per token",
        ["model", "seed", "least important", "most important", "most/least"],
        lines,
    )
    return summary


def _spearman(one: Floats, other: Floats) -> Interval:
    """Of the means over sequences, [E, S] each."""
    random = np.random.default_rng(0)
    sequences = one.shape[1]
    weights = random.multinomial(sequences, np.full(sequences, 1 / sequences), RESAMPLES).T / sequences  # [S, B]
    ranks = [stats.rankdata(values @ weights, axis=0) for values in (one, other)]
    centred = [values - values.mean(axis=0) for values in ranks]
    scale = np.sqrt(np.prod([(values**2).sum(axis=0) for values in centred], axis=0))
    draws = np.prod(centred, axis=0).sum(axis=0) / np.where(scale > 0, scale, 1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(rank_agreement(one.mean(axis=1), other.mean(axis=1)), float(low), float(high))


def _minus_random(ours: Floats, random: Floats) -> Interval:
    """ours: [K, S] of K seeds; random: [K, R, S]. Sequences are the seeds' own in common, random orders are not."""
    seeds, orders, sequences = random.shape
    draw = np.random.default_rng(0)
    weights = draw.multinomial(sequences, np.full(sequences, 1 / sequences), RESAMPLES) / sequences  # [B, S]
    picks = draw.multinomial(orders, np.full(orders, 1 / orders), (RESAMPLES, seeds)) / orders  # [B, K, R]
    chance = np.einsum("bkr,krs,bs->bk", picks, random, weights, optimize=True).mean(axis=1)
    low, high = np.quantile(weights @ ours.mean(axis=0) - chance, [0.025, 0.975])
    return Interval(float(ours.mean() - random.mean()), float(low), float(high))
