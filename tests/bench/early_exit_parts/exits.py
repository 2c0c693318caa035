"""Exit figures of every model on every workload, and what the paper's abstract says of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from assay.models.predict import predict, token_nats
from assay_inference_optimizer.core.early_exit.curves import layer_curves, oracle_saving, rule_curve
from assay_inference_optimizer.core.early_exit.exit_profile import ExitProfile, Floats
from assay_inference_optimizer.core.early_exit.profile import profile
from assay_inference_optimizer.core.early_exit.suitability import suitability
from assay_inference_optimizer.core.early_exit.token_classes import token_classes
from bench.early_exit_parts.family import Trained
from bench.early_exit_parts.texts import CANCEL, WORKLOADS, Texts
from bench.moe_parts.tables import show

BATCH, PROMPTS = 50, 240
RESAMPLES = 2000


@dataclass(frozen=True)
class ExitRow:
    """One model on one workload. loss: nats a token. savings: shares of the forward pass, gross and net of heads.

    prompt_saving: [P], the oracle's gross saving of each prompt; agreement, curve: [L] and the best rule's (share of
    tokens changed, layers saved) over its thresholds, for the figure.
    """

    seed: int
    model: str
    workload: str
    depth: int
    parameters: int
    loss: float
    head_layers: float
    oracle_gross: float
    oracle_net: float
    suitability: float
    suitability_net: float
    rule: str
    disagreement: float
    p_by_prompt: float
    by_class: dict[str, float]
    agreement: Floats
    curve: tuple[Floats, Floats] | None
    prompt_saving: Floats = field(metadata={"written": False})


def measure_exits(trained: Trained, texts: Texts, seed: int) -> list[ExitRow]:
    classes = token_classes(texts.tokenizer, trained.member.recipe.vocabulary)
    rows = []
    for workload in WORKLOADS:
        windows, skip = texts.sample(workload, PROMPTS), texts.skips[workload]
        found = profile(trained.model, windows.split(BATCH), classes=classes, skip=skip, cancel=CANCEL)
        rows.append(_row(trained, seed, workload, found, held_out_loss(trained, windows, skip)))
    return rows


@torch.inference_mode()
def held_out_loss(trained: Trained, windows: Tensor, skip: int) -> float:
    nats = []
    for batch in windows.split(BATCH):
        output, targets = predict(trained.model, batch)
        nats.append(token_nats(output.logits, targets)[:, skip:])
    return float(torch.cat(nats).mean())


def _row(trained: Trained, seed: int, workload: str, found: ExitProfile, loss: float) -> ExitRow:
    oracle, score, curves = oracle_saving(found), suitability(found), layer_curves(found)
    assert curves is not None
    by_class = {}
    for name in found.class_names:
        part = layer_curves(found, name)
        if part is not None:
            # E[e] is the sum over layers 0..L-1 of the share not yet saturated.
            by_class[name] = float((part.saturated[:-1]).sum() / found.depth)
    rule = None if score.rule is None else rule_curve(found, score.rule)
    return ExitRow(
        seed, trained.name, workload, found.depth, trained.parameters, loss, found.head_layers,
        oracle.gross, oracle.net,
        score.score, score.net, "none" if score.rule is None else score.rule.value, score.disagreement,
        score.p_by_prompt, by_class, curves.agreement, None if rule is None else (1 - rule.agreement, rule.gross),
        1 - found.saturation / found.tokens / found.depth,
    )  # fmt: skip


def print_exits(rows: list[ExitRow]) -> None:
    """The benchmark's one table: ranked gross, net beside it."""
    ranked = sorted(
        rows, key=lambda row: (WORKLOADS.index(row.workload), row.seed, -row.suitability, -row.oracle_gross)
    )
    show(
        "Layers saved as a share of all (suitability: best rule at <= 1 % of tokens changed, certified at 95 %)",
        (
            "workload", "seed", "model", "layers", "parameters", "loss", "suitability", "net", "changed", "rule",
            "oracle", "oracle net", "head = layers",
        ),
        [
            (
                row.workload, row.seed, row.model, row.depth, f"{row.parameters / 1e6:.2f}M", f"{row.loss:.3f}",
                f"{row.suitability:.1%}", f"{row.suitability_net:+.1%}", f"{row.disagreement:.2%}", row.rule,
                f"{row.oracle_gross:.1%}", f"{row.oracle_net:.1%}", f"{row.head_layers:.2f}",
            )
            for row in ranked
        ],
        "net: of multiply-adds of layers and heads, every probe paid; negative where looking costs more than it saves.",
        "loss: nats a token on the workload. changed: tokens of the evaluation half whose answer is another.",
    )  # fmt: skip
    classes = list(rows[0].by_class)
    last = [row for row in rows if row.workload == "code" and "@" not in row.model]
    show(
        "Oracle saving on code by the kind of token that is said",
        ("seed", "model", *classes),
        [(row.seed, row.model, *(f"{row.by_class.get(name, float('nan')):.0%}" for name in classes)) for row in last],
    )


@dataclass(frozen=True)
class Claim:
    """difference: of oracle savings, first minus second, mean over workloads; interval: 95 % over prompts."""

    says: str
    first: str
    second: str
    seed: int
    difference: float
    low: float
    high: float
    loss_difference: float

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "held"
        return "reversed" if self.high < 0 else "undecided"


# (what the abstract says, the model said to exit more, the other)
COMPARISONS = (
    ("dense above MoE", "dense-8", "moe-8"),
    ("dense above SSM", "dense-8", "mamba2-8"),
    ("base above tuned", "dense-8", "dense-8-tuned"),
    ("less training above more (ours)", "dense-8@30%", "dense-8"),
    ("deeper above shallower, 12 to 4 (ours)", "dense-12", "dense-4"),
    ("deeper above shallower, 12 to 8 (ours)", "dense-12", "dense-8"),
    ("exit losses above none (ours)", "dense-8-exits", "dense-8"),
    ("exit losses above none (ours)", "dense-12-exits", "dense-12"),
)


def claims(rows: list[ExitRow]) -> list[Claim]:
    found = []
    by_key = {(row.seed, row.model, row.workload): row for row in rows}
    for seed in sorted({row.seed for row in rows}):
        for says, first, second in COMPARISONS:
            if (seed, first, "code") in by_key and (seed, second, "code") in by_key:
                pairs = [(by_key[seed, first, work], by_key[seed, second, work]) for work in WORKLOADS]
                found.append(_claim(says, first, second, seed, pairs))
    return found


def _claim(says: str, first: str, second: str, seed: int, pairs: Iterable[tuple[ExitRow, ExitRow]]) -> Claim:
    """Prompts are resampled in pairs, workload by workload."""
    random, means, draws, losses = np.random.default_rng(0), [], [], []
    for one, other in pairs:
        difference = one.prompt_saving - other.prompt_saving
        picks = random.integers(0, len(difference), (RESAMPLES, len(difference)))
        means.append(difference.mean())
        draws.append(difference[picks].mean(axis=1))
        losses.append(one.loss - other.loss)
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    return Claim(says, first, second, seed, float(np.mean(means)), float(low), float(high), float(np.mean(losses)))


def print_claims(found: list[Claim]) -> None:
    show(
        "What the abstract says, at this scale: oracle saving, first minus second, in points",
        ("claim", "first", "second", "seed", "difference", "95 % over prompts", "loss difference", "verdict"),
        [
            (
                each.says, each.first, each.second, each.seed, f"{100 * each.difference:+.1f}",
                f"[{100 * each.low:+.1f}, {100 * each.high:+.1f}]", f"{each.loss_difference:+.3f}", each.verdict,
            )
            for each in found
        ],
        "Intervals are over prompts; another seed trains another model, so a verdict is as good as its seeds agree.",
        "Not testable here: models above 20 B, and newer generations of a family. No trend is extrapolated to them.",
    )  # fmt: skip
