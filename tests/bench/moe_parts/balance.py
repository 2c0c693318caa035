"""Replicate-and-Quantize: how much balance within the model's own bytes, and what it costs in quality."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assay_moe_router.core.cloze import cloze_accuracy
from assay_moe_router.core.evaluate import evaluate, measure
from assay_moe_router.core.export import expert_file_bytes, read_balanced, write_balanced
from assay_moe_router.core.load_imbalance import load_imbalance
from assay_moe_router.core.replicate_quantize import DEFAULT_TARGET, Policy, plan_replicate_quantize
from assay_moe_router.core.statistics import Floats
from bench.moe_parts.intervals import Interval, of_mean, over_seeds
from bench.moe_parts.subject import BATCH, CANCEL, SEQUENCES, TOKENS, Subject, routed
from bench.moe_parts.tables import show, verdict

POLICIES: dict[str, dict[str, Any]] = {
    "target-lis": {"policy": Policy.TARGET_LIS},
    "paper": {"policy": Policy.PAPER},
    "bytes": {"policy": Policy.BYTES},
    "target-lis, exact": {"policy": Policy.TARGET_LIS, "exact": True},
}
# Of the mean over layers and seeds of lis before / lis_logical.
RATIO_BARS = {"qwen3-moe-tiny": 2.5, "qwen3-moe-tiny-aux": 1.5}
ACCURACY_BAR_POINTS = 0.3
LOSS_BAR_NATS = 0.005


@dataclass(frozen=True)
class LayerRow:
    """planned: lis_logical that the plan promised on the calibration split; the rest as the test split ran."""

    layer: int
    before: float
    planned: float
    lis_logical: float
    lis_slots: float
    ratio: float
    replicas: int
    quantized: int
    experts: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BalanceRow:
    """One plan of one model. bytes_exported: of the tensors in the file that was written. differences: [S]."""

    recipe: str
    seed: int
    policy: str
    layers: tuple[LayerRow, ...]
    bytes_before: int
    bytes_after: int
    bytes_exported: int
    accuracy_before: float
    loss_before_nats: float
    accuracy: Interval
    loss_nats: Interval
    accuracy_differences: Floats = field(metadata={"written": False})
    loss_differences: Floats = field(metadata={"written": False})

    @property
    def mean_ratio(self) -> float:
        return float(np.mean([layer.ratio for layer in self.layers]))

    @property
    def quantized_share(self) -> float:
        return sum(layer.quantized for layer in self.layers) / sum(layer.experts for layer in self.layers)


@dataclass(frozen=True)
class ClozeRow:
    recipe: str
    seed: int
    before: float
    after: float
    change: Interval
    differences: Floats = field(metadata={"written": False})


@dataclass(frozen=True)
class CapacityRow:
    """One layer of a model whose experts take a limited number of tokens a sequence."""

    recipe: str
    seed: int
    layer: int
    routed: int
    processed: int
    lis_routed: float
    lis_processed: float
    most_dropped: float


def measure_balance(subject: Subject) -> tuple[list[BalanceRow], ClozeRow]:
    rows = []
    cloze: ClozeRow | None = None
    before = cloze_accuracy(subject.model, subject.test, batch=BATCH, cancel=CANCEL)
    for name, options in POLICIES.items():
        plan = plan_replicate_quantize(
            subject.digest, subject.statistics, subject.importance, subject.expert_bytes, **options
        )
        with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
            written = Path(folder) / "balanced"
            write_balanced(subject.directory, subject.stored, plan, written, cancel=CANCEL)
            exported, balanced = expert_file_bytes(written), read_balanced(written)
        measured = measure(subject.model, balanced, subject.test, batch=BATCH, cancel=CANCEL)
        found = evaluate(measured, plan)
        layers = tuple(
            LayerRow(
                layer=layer.layer,
                before=found.balances[layer.layer].before,
                planned=layer.balance(subject.statistics.layer(layer.layer).loads).lis_logical,
                lis_logical=found.balances[layer.layer].lis_logical,
                lis_slots=found.balances[layer.layer].lis_slots,
                ratio=found.balances[layer.layer].ratio,
                replicas=layer.replicas,
                quantized=layer.quantized_experts,
                experts=layer.experts,
                notes=layer.notes,
            )
            for layer in plan.layers
        )
        rows.append(
            BalanceRow(
                recipe=subject.recipe,
                seed=subject.seed,
                policy=name,
                layers=layers,
                bytes_before=plan.bytes_before,
                bytes_after=plan.bytes_after,
                bytes_exported=exported,
                accuracy_before=found.accuracy.before,
                loss_before_nats=found.loss_nats.before,
                accuracy=Interval(found.accuracy.change, found.accuracy.low, found.accuracy.high),
                loss_nats=Interval(found.loss_nats.change, found.loss_nats.low, found.loss_nats.high),
                accuracy_differences=measured.after.accuracy - measured.before.accuracy,
                loss_differences=measured.after.loss - measured.before.loss,
            )
        )
        if name == "target-lis":
            with balanced.running():
                after = cloze_accuracy(balanced.model, subject.test, batch=BATCH, cancel=CANCEL)
            cloze = ClozeRow(
                subject.recipe,
                subject.seed,
                float(before.mean()),
                float(after.mean()),
                of_mean(after - before),
                after - before,
            )
    assert cloze is not None
    return rows, cloze


def measure_capacity(subject: Subject) -> list[CapacityRow]:
    limited = {layer.layer for layer in subject.layout.layers if layer.capacity}
    rows = []
    for layer in routed(subject.model, subject.test).layers if limited else ():
        if layer.layer in limited:
            processed = layer.loads - layer.dropped
            rows.append(
                CapacityRow(
                    recipe=subject.recipe,
                    seed=subject.seed,
                    layer=layer.layer,
                    routed=int(layer.loads.sum()),
                    processed=int(processed.sum()),
                    lis_routed=load_imbalance(layer.loads, layer.experts),
                    lis_processed=load_imbalance(processed, layer.experts),
                    most_dropped=float((layer.dropped / layer.loads.clip(1)).max()),
                )
            )
    return rows


def print_layers(rows: Sequence[BalanceRow]) -> None:
    show(
        f"1a. Balance, policy target-lis (lis_logical {DEFAULT_TARGET}), int8, bfloat16 weights computed in float32; "
        f"planned on {SEQUENCES} sequences of {TOKENS} tokens of the calibration split, run on {SEQUENCES} of the test "
        "split",
        [
            "model",
            "seed",
            "layer",
            "lis before",
            "planned",
            "lis_logical",
            "lis_slots",
            "ratio",
            "replicas",
            "quantized",
        ],
        [
            [
                row.recipe,
                row.seed,
                layer.layer,
                f"{layer.before:.2f}",
                f"{layer.planned:.2f}",
                f"{layer.lis_logical:.2f}",
                f"{layer.lis_slots:.2f}",
                f"{layer.ratio:.2f}x",
                layer.replicas,
                f"{layer.quantized}/{layer.experts}",
            ]
            for row in rows
            if row.policy == "target-lis"
            for layer in row.layers
        ],
        "planned: lis_logical that the plan reaches on the text it was planned on.",
        *sorted(
            {
                f"{row.recipe}, seed {row.seed}, layer {layer.layer}: {note}"
                for row in rows
                if row.policy == "target-lis"
                for layer in row.layers
                for note in layer.notes
            }
        ),
    )


def print_policies(rows: Sequence[BalanceRow]) -> dict[str, Any]:
    """Also returns what the bars are held against."""
    lines, summary = [], {}
    for recipe in dict.fromkeys(row.recipe for row in rows):
        for policy in POLICIES:
            group = [row for row in rows if row.recipe == recipe and row.policy == policy]
            accuracy, loss = pooled(group)
            replicas = [sum(layer.replicas for layer in row.layers) / len(row.layers) for row in group]
            slots = [np.mean([layer.before / layer.lis_slots for layer in row.layers]) for row in group]
            lines.append(
                [
                    recipe,
                    policy,
                    over_seeds([row.mean_ratio for row in group]) + "x",
                    f"{np.mean(slots):.2f}x",
                    f"{np.mean(replicas):.1f}",
                    f"{np.mean([row.quantized_share for row in group]):.0%}",
                    f"{np.mean([row.bytes_after / row.bytes_before for row in group]):.4f}",
                    "yes" if all(row.bytes_exported == row.bytes_after for row in group) else "NO",
                    accuracy.shown(3, 100),
                    loss.shown(5),
                ]
            )
            if policy == "target-lis":
                summary[recipe] = held_against_bars(recipe, group)
    show(
        "1b. Policies; means over layers and seeds [least and most of the seeds' means]; changes in next-token "
        "accuracy and loss with 95 % paired bootstrap intervals over sequences, seeds averaged",
        ["model", "policy", "lis ratio", "by slots", "replicas a layer", "quantized", "bytes after/before",
         "file agrees", "accuracy, points", "loss, nats"],
        lines,
        "by slots: the same ratio with lis_slots, whose fair share counts replicas. quantized: share of the experts. "
        "exact: replicas and experts as they were, memory grows.",
    )  # fmt: skip
    return summary


def held_against_bars(recipe: str, group: Sequence[BalanceRow]) -> dict[str, Any]:
    ratio = float(np.mean([row.mean_ratio for row in group]))
    bar = RATIO_BARS.get(recipe)
    return {
        "lis_ratio": ratio,
        "lis_ratio_by_seed": [row.mean_ratio for row in group],
        "lis_ratio_bar": bar,
        "lis_ratio_met": None if bar is None else ratio >= bar,
        "bytes_met": all(row.bytes_exported == row.bytes_after <= row.bytes_before for row in group),
        "accuracy_points": [
            100 * min(row.accuracy.low for row in group),
            100 * max(row.accuracy.high for row in group),
        ],
        "accuracy_met": all(row.accuracy.inside(ACCURACY_BAR_POINTS / 100) for row in group),
        "loss_nats": max(row.loss_nats.mean for row in group),
        "loss_nats_high": max(row.loss_nats.high for row in group),
        "loss_met": all(row.loss_nats.mean <= LOSS_BAR_NATS for row in group),
    }


def print_bars(rows: Sequence[BalanceRow], summary: dict[str, Any]) -> None:
    lines = []
    for row in rows:
        if row.policy == "target-lis":
            same = row.bytes_exported == row.bytes_after <= row.bytes_before
            lines.append(
                [
                    row.recipe,
                    row.seed,
                    f"{row.mean_ratio:.2f}x",
                    row.bytes_before,
                    row.bytes_after,
                    row.bytes_exported,
                    verdict(same),
                    f"{row.accuracy_before:.2%}",
                    row.accuracy.shown(3, 100),
                    verdict(row.accuracy.inside(ACCURACY_BAR_POINTS / 100)),
                    f"{row.loss_before_nats:.4f}",
                    row.loss_nats.shown(5),
                    verdict(row.loss_nats.mean <= LOSS_BAR_NATS),
                ]
            )
    bars = [
        f"{recipe}: mean lis ratio {found['lis_ratio']:.2f}x, bar {found['lis_ratio_bar']}x: "
        f"{verdict(found['lis_ratio_met'])}"
        for recipe, found in summary.items()
        if found["lis_ratio_bar"] is not None
    ]
    show(
        f"1c. target-lis against the bars: bytes equal to the file's and not above before; accuracy interval inside "
        f"+-{ACCURACY_BAR_POINTS} points; loss rise at most {LOSS_BAR_NATS} nats",
        ["model", "seed", "lis ratio", "bytes before", "after", "in the file", "bytes", "accuracy", "change, points",
         "accuracy", "loss", "change, nats", "loss"],
        lines,
        *bars,
    )  # fmt: skip


def print_cloze(rows: Sequence[ClozeRow]) -> None:
    lines = []
    for recipe in dict.fromkeys(row.recipe for row in rows):
        group = [row for row in rows if row.recipe == recipe]
        change = of_mean(np.mean([row.differences for row in group], axis=0))
        lines.append(
            [
                recipe,
                f"{np.mean([row.before for row in group]):.1%}",
                f"{np.mean([row.after for row in group]):.1%}",
                change.shown(2, 100),
                "  ".join(row.change.shown(2, 100) for row in group),
            ]
        )
    show(
        f"1d. Cloze: which of four ends of 8 tokens belongs to a passage ({SEQUENCES} passages, guessing 25 %), before "
        "and after target-lis; seeds averaged",
        ["model", "before", "after", "change, points", "each seed"],
        lines,
    )


def print_capacity(rows: Sequence[CapacityRow]) -> None:
    show(
        "1e. Switch: what the router chose and what the experts processed after the capacity cut",
        [
            "model",
            "seed",
            "layer",
            "routed",
            "processed",
            "dropped",
            "lis routed",
            "lis processed",
            "worst expert",
        ],
        [
            [
                row.recipe,
                row.seed,
                row.layer,
                row.routed,
                row.processed,
                f"{1 - row.processed / row.routed:.2%}",
                f"{row.lis_routed:.2f}",
                f"{row.lis_processed:.2f}",
                f"{row.most_dropped:.1%}",
            ]
            for row in rows
        ],
        "worst expert: share that the expert which drops most drops. Plans stand on what was routed; table 1a counts "
        "what was processed. The encoder's layers are counted first.",
        "The cut is made by the router, so replicas lower imbalance but save no token from it.",
    )


def pooled(group: Sequence[BalanceRow]) -> tuple[Interval, Interval]:
    """The seeds' models saw the same sequences: their differences are averaged, and sequences are resampled."""
    return (
        of_mean(np.mean([row.accuracy_differences for row in group], axis=0)),
        of_mean(np.mean([row.loss_differences for row in group], axis=0)),
    )
