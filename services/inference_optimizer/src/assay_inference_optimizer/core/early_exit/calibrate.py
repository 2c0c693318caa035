"""Thresholds with a guarantee: with probability 1 - delta, at most epsilon of what is said is changed."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from assay.errors import DataLoss, FailedPrecondition, InvalidInput
from assay_inference_optimizer.core.early_exit.bounds import Floats, betting
from assay_inference_optimizer.core.early_exit.curves import saving
from assay_inference_optimizer.core.early_exit.exit_profile import ExitProfile
from assay_inference_optimizer.core.early_exit.rules import Rule, check_threshold
from assay_inference_optimizer.core.sparse.config import SparseConfig


@dataclass(frozen=True)
class Thresholds:
    """What risk-controlled decoding needs.

    model: what the caller knows the checkpoint by. threshold: None where none could be certified, and no token may
    exit. epsilon, delta, prompts: the guarantee and the draws it stands on. risk: mean disagreement seen on them.
    gross, net: savings seen on them (`Saving`). sparse: the attention they were profiled under, None for dense.
    """

    model: str
    depth: int
    exit_layers: tuple[int, ...]
    rule: Rule
    threshold: float | None
    epsilon: float
    delta: float
    prompts: int
    risk: float
    gross: float
    net: float
    sparse: SparseConfig | None = None

    def check_model(self, model: str) -> None:
        """FailedPrecondition for any other checkpoint: a guarantee does not carry over."""
        if model != self.model:
            raise FailedPrecondition(
                "thresholds: were calibrated on another checkpoint; calibrate this one",
                reason="CALIBRATED_ON_ANOTHER_MODEL",
                metadata={"model": model, "calibrated_model": self.model},
            )

    def check_sparse(self, sparse: SparseConfig | None) -> None:
        """FailedPrecondition for any other attention: another choice of blocks is another model. None: dense."""
        if sparse == self.sparse:
            return
        if self.sparse is None:
            said = "sparse: the thresholds were calibrated on dense attention; leave it out, or calibrate with it"
        elif sparse is None:
            said = "sparse: the thresholds were calibrated on sparse attention; give the settings they were made with"
        else:
            here, there = sparse.to_document(), self.sparse.to_document()
            name = next(name for name in there if here[name] != there[name])
            said = (
                f"sparse.{name}: is {here[name]}, and the thresholds were calibrated at {there[name]}; leave sparse "
                "out to take the calibration's, or calibrate with these settings"
            )
        raise FailedPrecondition(said, reason="CALIBRATED_ON_OTHER_SPARSE_CONFIG")

    def to_json(self) -> bytes:
        fields = {**self.__dict__, "rule": self.rule.value, "exit_layers": list(self.exit_layers), "schema_version": 1}
        fields["sparse"] = None if self.sparse is None else self.sparse.to_document()
        return json.dumps(fields, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, document: bytes) -> Thresholds:
        """What `to_json` wrote; DataLoss where it is damaged."""
        try:
            fields = json.loads(document)
            del fields["schema_version"]
            fields |= {"rule": Rule(fields["rule"]), "exit_layers": tuple(fields["exit_layers"])}
            sparse = fields.pop("sparse", None)  # thresholds from before sparse attention was calibrated lack it
            fields["sparse"] = None if sparse is None else SparseConfig.from_document(sparse)
            found = cls(**fields)
            if found.threshold is not None:
                check_threshold(found.rule, found.threshold)
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise DataLoss("the thresholds cannot be read; calibrate again") from error
        return found


def calibrate(
    profile: ExitProfile,
    *,
    model: str,
    rule: Rule,
    epsilon: float,
    delta: float,
    sparse: SparseConfig | None = None,
    seed: int = 0,
) -> Thresholds:
    """The boldest threshold of `rule` whose risk is at most `epsilon`, with probability 1 - `delta` over the prompts.

    The risk of a threshold is the mean over prompts of the share of a prompt's tokens that exit with another answer
    than the whole model gives at the same place. Tokens of a prompt depend on each other, so a prompt is one draw in
    [0, 1], and the bound is over prompts (`betting`). Thresholds are tested from the most careful on until one fails
    (fixed-sequence testing, arXiv:2110.01052, section 3): none is skipped, so no correction is due. Picking the
    boldest threshold whose observed risk is at most epsilon instead (`plug_in`) promises nothing. How often it exceeds
    epsilon depends on how finely risk rises from threshold to threshold: about every second time on the made-up
    prompts of the unit test; on the two models of the bench, three rules each, in 9.5 % of 1,000 draws in one row and
    in none in the five others (tests/bench/results/early_exit-risk.json). For the best of several rules, calibrate each
    at delta over their number.

    It holds for prompts drawn as these were, at the contexts of the text profiled: profile what the model itself
    wrote to speak of what it will write. Where a token is changed, what follows is another text. sparse: what was
    profiled under; the whole model is then the one that attends so.
    Raises InvalidInput for epsilon or delta outside (0, 1) or a rule that was not profiled.
    """
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0 < value < 1:
            raise InvalidInput(name, f"is {value}; give a share between 0 and 1")
    if rule not in profile.rules:
        raise InvalidInput("rule", f"{rule.value} was not profiled: it needs at least two exit layers")
    losses = np.random.default_rng(seed).permutation(prompt_losses(profile, rule))
    index = certified(losses, epsilon, delta)
    sums, tokens = profile.rules[rule], profile.tokens.sum()
    if index is None:
        risk, depth, heads = 0.0, float(profile.depth), 1.0
    else:
        risk = float(losses[:, index].mean())
        depth, heads = (float(found[:, index].sum() / tokens) for found in (sums.depth, sums.heads))
    saved = saving(profile, depth, heads)
    threshold = None if index is None else float(profile.thresholds(rule)[index])
    return Thresholds(
        model, profile.depth, profile.exit_layers, rule, threshold, epsilon, delta, profile.prompts, risk,
        saved.gross, saved.net, sparse,
    )  # fmt: skip


def prompt_losses(profile: ExitProfile, rule: Rule) -> Floats:
    """[P, G]: the share of each prompt's tokens that a threshold changes."""
    losses: Floats = profile.rules[rule].wrong / profile.tokens[:, None]
    return losses


def certified(losses: Floats, epsilon: float, delta: float) -> int | None:
    """Index of the last threshold before the first whose risk cannot be bounded; None where that is the first."""
    failed = betting(losses, epsilon, delta) > delta
    return _before(failed)


def plug_in(losses: Floats, epsilon: float) -> int | None:
    """What a user without a bound would take: the last threshold before the observed risk exceeds epsilon."""
    return _before(losses.mean(axis=0) > epsilon)


def _before(failed: np.ndarray) -> int | None:
    first = int(failed.argmax()) if failed.any() else len(failed)
    return first - 1 if first else None
