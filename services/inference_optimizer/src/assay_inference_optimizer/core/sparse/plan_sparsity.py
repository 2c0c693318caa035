"""From a quality budget to a density for each layer: how sparse may a model read before its loss rises too far?

The settings worth trying are found on every other sequence. The rest is held out, and only there is a setting tested
and its rise reported: the sparsest of several looks better on the text it was chosen by than it is.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from assay.errors import InvalidInput
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig
from assay_inference_optimizer.core.sparse.fallbacks import unsuited
from assay_inference_optimizer.core.sparse.quality import (
    Floats,
    Interval,
    SequenceLosses,
    student_rise,
)

LEVELS = (0.1, 0.2, 0.35, 0.6)
"""Densities a layer may get, beside 1."""

MIN_SEQUENCES = 4
"""Two to choose on and two to hold out: a spread takes two."""

_ROUNDS = 4


@dataclass(frozen=True)
class PlanPoint:
    """One setting that was measured. target_density: of all sparse layers, None for one that differs by layer.
    loss_nats, rise: on the sequences held out."""

    target_density: float | None
    layer_densities: tuple[float, ...]
    density: float
    loss_nats: float
    rise: Interval


@dataclass(frozen=True)
class SparsityPlan:
    """sparse: what to read with; its layer_densities are the plan. layer_density: as counted. dense_loss_nats,
    loss_nats, rise: on the sequences held out, the rise over dense attention in nats with a 95 % t interval.
    within_budget: whether anything below density 1 passed there; where not, the plan is dense attention. curve: all
    that was measured with every layer sparse, densest last."""

    sparse: SparseConfig
    layer_density: Mapping[int, float]
    dense_loss_nats: float
    loss_nats: float
    rise: Interval
    within_budget: bool
    curve: tuple[PlanPoint, ...]


Planning = Generator[list[SparseConfig], list[SequenceLosses], SparsityPlan]


def planning(sparse: SparseConfig, layers: int, suited: Sequence[int], max_rise_nats: float) -> Planning:
    """The search itself, which measures nothing: yields settings to measure on one text, is sent their losses in that
    order, returns the plan. So whoever drives it decides where and how wide the measuring runs.

    layers: of the model. suited: those that may run sparse. A setting is within the budget on some sequences when the
    upper end of its rise's 95 % t interval over them is. Losses are of all sequences, MIN_SEQUENCES or more; the search
    looks at the first, third, ... of them. Layers are first measured one at a time, their rises taken to add up, and
    the densities then chosen that spare most for it; what is chosen is measured as a whole, and the budget of the
    choice halved until it holds. One density for all layers is the rival.

    What holds there is tested on the sequences held out, from the densest on until one fails (fixed-sequence testing,
    arXiv:2110.01052, section 3); the last to pass is the plan. So of forty texts planned on, at most one is expected to
    give a plan whose true mean rise exceeds the budget: over text that its sequences are independent draws from, and as
    far as their mean rise is normal. Rises as skewed as a log-normal of sigma 1 made it one in ten, at 16 sequences.
    Not promised is that single texts stay within it, or that no sparser setting would. The rise of a plan that passed
    narrowly is still a little too low, since it had to pass.
    """
    if max_rise_nats <= 0:
        raise InvalidInput("max_loss_increase_nats", f"is {max_rise_nats}; give more than 0")
    if not suited:
        raise InvalidInput("model", "has no layer that can run sparse")
    uniform = [_setting(sparse, layers, dict.fromkeys(suited, level)) for level in LEVELS]
    alone = [_setting(sparse, layers, {layer: level}) for layer in suited for level in LEVELS]
    dense, *found = yield [replace(sparse, method=Method.DENSE), *uniform, *alone]
    check_sequences(dense.nats.size)
    tried = [_Tried(*one, dense) for one in zip(LEVELS, uniform, found[: len(LEVELS)], strict=True)]
    rises = iter(_rises(losses, dense)[_CHOOSING].mean() for losses in found[len(LEVELS) :])
    cost = {layer: _monotone([float(next(rises)) for _ in LEVELS]) for layer in suited}
    budget = max_rise_nats
    for _ in range(_ROUNDS):
        setting = _setting(sparse, layers, _cheapest(cost, budget))
        if all(density == 1 for density in setting.layer_densities):
            break
        (losses,) = yield [setting]
        tried.append(_Tried(None, setting, losses, dense))
        if tried[-1].chosen_by.high <= max_rise_nats:
            break
        budget /= 2
    tried.sort(key=lambda one: one.losses.density)
    curve = tuple(one.point for one in tried)
    dense_loss = float(dense.nats[_HELD_OUT].mean())
    plan: _Tried | None = None
    for one in reversed(tried):
        if one.chosen_by.high <= max_rise_nats:
            if one.point.rise.high > max_rise_nats:
                break
            plan = one
    if plan is None:
        nothing = Interval(0.0, 0.0, 0.0)
        stays = _setting(sparse, layers, {})
        return SparsityPlan(stays, dense.layer_density, dense_loss, dense_loss, nothing, False, curve)
    point = plan.point
    return SparsityPlan(plan.setting, plan.losses.layer_density, dense_loss, point.loss_nats, point.rise, True, curve)


def search_for(model: PreTrainedModel, sparse: SparseConfig, max_rise_nats: float) -> Planning:
    """`planning` for a model. The first `sparse.dense_layers` layers stay dense."""
    text = model.config.get_text_config(decoder=True)
    layers, left_out = int(text.num_hidden_layers), unsuited(text)
    suited = [layer for layer in range(sparse.dense_layers, layers) if layer not in left_out]
    return planning(sparse, layers, suited, max_rise_nats)


def resumed(search: Planning, losses: Sequence[SequenceLosses]) -> list[SparseConfig] | SparsityPlan:
    """Where a new search stands once it knows `losses`, in the order it asks for them: what it wants next, or its plan.

    A search is made again from what was measured, and so outlives the process that drives it.
    """
    wanted, known = next(search), 0
    try:
        while known < len(losses):
            answer = losses[known : known + len(wanted)]
            known += len(answer)
            wanted = search.send(list(answer))
    except StopIteration as ended:
        plan: SparsityPlan = ended.value
        return plan
    return wanted


def _setting(sparse: SparseConfig, layers: int, densities: Mapping[int, float]) -> SparseConfig:
    return replace(sparse, layer_densities=tuple(densities.get(layer, 1.0) for layer in range(layers)))


# Neighbours in the text are dealt to either half, so that both are of the same mix.
_CHOOSING, _HELD_OUT = slice(0, None, 2), slice(1, None, 2)


@dataclass(frozen=True)
class _Tried:
    target: float | None
    setting: SparseConfig
    losses: SequenceLosses
    dense: SequenceLosses

    @property
    def chosen_by(self) -> Interval:
        """The rise on the sequences that the search looks at."""
        return student_rise(_rises(self.losses, self.dense)[_CHOOSING])

    @property
    def point(self) -> PlanPoint:
        rise, loss = student_rise(_rises(self.losses, self.dense)[_HELD_OUT]), self.losses.nats[_HELD_OUT].mean()
        return PlanPoint(self.target, self.setting.layer_densities, self.losses.density, float(loss), rise)


def _rises(losses: SequenceLosses, dense: SequenceLosses) -> Floats:
    """[S]"""
    return losses.nats - dense.nats


def check_sequences(count: int) -> None:
    """InvalidInput for fewer than MIN_SEQUENCES."""
    if count < MIN_SEQUENCES:
        raise InvalidInput(
            "text", f"gives {count} sequences; half of them are held out, so give at least {MIN_SEQUENCES}"
        )


def _monotone(rises: list[float]) -> list[float]:
    """Rises by level, never negative nor growing with density: luck on one text is not counted as a gain."""
    ceiling, smoothed = 0.0, []
    for rise in reversed(rises):
        ceiling = max(ceiling, rise)
        smoothed.append(ceiling)
    return smoothed[::-1]


def _cheapest(cost: Mapping[int, list[float]], budget: float) -> dict[int, float]:
    """Densities of least sum whose costs add up to the budget at most, by taking the best step down again and again."""
    steps = [*LEVELS, 1.0]
    prices = {layer: [*rises, 0.0] for layer, rises in cost.items()}
    chosen = dict.fromkeys(cost, len(LEVELS))
    left = budget
    while True:
        best: tuple[float, int, int, float] | None = None
        for layer, at in chosen.items():
            for to in range(at):
                price = prices[layer][to] - prices[layer][at]
                if price <= left:
                    worth = (steps[at] - steps[to]) / max(price, 1e-9)
                    if best is None or worth > best[0]:
                        best = (worth, layer, to, price)
        if best is None:
            return {layer: steps[at] for layer, at in chosen.items()}
        _, layer, to, price = best
        chosen[layer] = to
        left -= price
