"""What a profile says: agreement, saturation, similarity and cost of every layer, rule and threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay_inference_optimizer.core.early_exit.exit_profile import ExitProfile, Floats, RuleSums
from assay_inference_optimizer.core.early_exit.rules import Rule


@dataclass(frozen=True)
class LayerCurves:
    """Means over tokens, [L] each, index l - 1 for layer l; see `ClassSums` for what is averaged."""

    tokens: int
    agreement: Floats
    saturated: Floats
    next_cosine: Floats
    final_cosine: Floats
    divergence: Floats


@dataclass(frozen=True)
class Saving:
    """Shares of a forward pass that are saved.

    gross: layers, 1 - E[exit layer] / L. net: multiply-adds of layers and heads, 1 - (E[exit layer] + H E[heads]) /
    (L + H) with H the cost of one head in layers; negative where looking costs more than it saves.
    """

    gross: float
    net: float


@dataclass(frozen=True)
class RuleCurve:
    """One rule over its thresholds, from the most careful, [G] each. agreement: share of tokens unchanged."""

    rule: Rule
    thresholds: Floats
    agreement: Floats
    gross: Floats
    net: Floats


def layer_curves(profile: ExitProfile, token_class: str | None = None) -> LayerCurves | None:
    """Of one class by its name, or of all tokens. None for a class without tokens: it has no mean."""
    rows = slice(None) if token_class is None else [profile.class_names.index(token_class)]
    sums = profile.classes
    tokens = int(sums.tokens[rows].sum())
    if not tokens:
        return None
    names = ("agree", "saturation", "next_cosine", "final_cosine", "divergence")
    means = [getattr(sums, name)[rows].sum(axis=0) / tokens for name in names]
    return LayerCurves(tokens, means[0], np.cumsum(means[1]), *means[2:])


def oracle_saving(profile: ExitProfile) -> Saving:
    """1 - E[e_t] / L with e_t the layer from which on the answer stays: what a rule that knew it would save.

    Definition ours: that of arXiv:2603.23701 was not available. Net of the one head that the answer needs anyway.
    """
    exit_layer = profile.saturation.sum() / profile.tokens.sum()
    return saving(profile, float(exit_layer), 1.0)


def rule_curve(profile: ExitProfile, rule: Rule) -> RuleCurve:
    """Gross and net of head cost, over all tokens."""
    sums: RuleSums = profile.rules[rule]
    tokens = profile.tokens.sum()
    wrong, depth, heads = (getattr(sums, name).sum(axis=0) / tokens for name in ("wrong", "depth", "heads"))
    savings = [saving(profile, layer, head) for layer, head in zip(depth, heads, strict=True)]
    return RuleCurve(
        rule,
        profile.thresholds(rule),
        1 - wrong,
        np.array([each.gross for each in savings]),
        np.array([each.net for each in savings]),
    )


def saving(profile: ExitProfile, exit_layer: float, heads: float) -> Saving:
    """Of a mean exit layer and a mean number of heads computed by it."""
    whole = profile.depth + profile.head_layers
    return Saving(1 - exit_layer / profile.depth, 1 - (exit_layer + heads * profile.head_layers) / whole)
