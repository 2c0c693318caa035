"""Profiles against loops written out, shards against one pass, and layers that do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import Cancelled, DataLoss, InvalidInput
from assay_inference_optimizer.core.early_exit import profile as profiling
from assay_inference_optimizer.core.early_exit.curves import layer_curves, oracle_saving, rule_curve
from assay_inference_optimizer.core.early_exit.exit_profile import SUMMARY, ExitProfile
from assay_inference_optimizer.core.early_exit.logit_lens import residuals
from assay_inference_optimizer.core.early_exit.parts import parts_of
from assay_inference_optimizer.core.early_exit.profile import profile
from assay_inference_optimizer.core.early_exit.rules import Rule
from assay_inference_optimizer.core.early_exit.token_classes import TokenClasses

Build = Callable[..., PreTrainedModel]


def by_hand(model: PreTrainedModel, tokens: Tensor) -> list[dict[str, Any]]:
    """One dictionary a token, everything in float64 from the lens."""
    parts, hidden = parts_of(model), residuals(model, tokens)
    found = []
    for row in range(tokens.shape[0]):
        for position in range(tokens.shape[1]):
            states = [layer[row, position] for layer in hidden]
            logits = [parts.logits(state[None])[0].double() for state in states[1:]]
            answers = [int(z.argmax()) for z in logits]
            saturation = next(k for k in range(1, 5) if all(a == answers[-1] for a in answers[k - 1 :]))
            p_final = logits[-1].softmax(0)
            found.append(
                {
                    "row": row,
                    "answers": answers,
                    "saturation": saturation,
                    "probability": [float(z.softmax(0).max()) for z in logits],
                    "divergence": [
                        float((p_final * (logits[-1].log_softmax(0) - z.log_softmax(0))).sum()) for z in logits
                    ],
                    "cosine": [
                        float(torch.cosine_similarity(states[i].double(), states[i + 1].double(), dim=0))
                        for i in range(4)
                    ],
                }
            )
    return found


@torch.no_grad()
def test_sums_are_those_of_a_loop_over_tokens(family: PreTrainedModel, tokens: Tensor, cancel: CancelToken) -> None:
    found, hand = profile(family, [tokens], cancel=cancel), by_hand(family, tokens)
    curves = layer_curves(found)
    assert curves is not None
    assert curves.tokens == 72
    for layer in range(4):
        assert curves.agreement[layer] == np.mean([t["answers"][layer] == t["answers"][-1] for t in hand])
        assert curves.saturated[layer] == pytest.approx(np.mean([t["saturation"] <= layer + 1 for t in hand]))
        assert curves.next_cosine[layer] == pytest.approx(np.mean([t["cosine"][layer] for t in hand]), abs=1e-5)
        assert curves.divergence[layer] == pytest.approx(np.mean([t["divergence"][layer] for t in hand]), abs=1e-4)
    assert oracle_saving(found).gross == pytest.approx(1 - np.mean([t["saturation"] for t in hand]) / 4)
    sums, grid = found.rules[Rule.MAX_PROBABILITY], found.thresholds(Rule.MAX_PROBABILITY)
    for index in (0, 20, 30, len(grid) - 1):
        exits = [next((k for k in (1, 2, 3) if t["probability"][k - 1] >= grid[index]), 4) for t in hand]
        wrong = [t["answers"][e - 1] != t["answers"][-1] for t, e in zip(hand, exits, strict=True)]
        rows = np.array([t["row"] for t in hand])
        assert sums.depth[:, index].tolist() == np.bincount(rows, exits).tolist()
        assert sums.wrong[:, index].tolist() == np.bincount(rows, wrong).tolist()
        assert sums.heads[:, index].sum() == sum(exits)  # one probe a layer, the last layer's being the answer


def test_shards_add_up_to_one_pass(
    family: PreTrainedModel, tokens: Tensor, cancel: CancelToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = profile(family, [tokens], cancel=cancel)
    shards = [profile(family, tokens[start : start + 3].split(1), cancel=cancel) for start in (0, 3)]
    merged = ExitProfile.merge([ExitProfile.from_files(shard.to_files()) for shard in shards])
    monkeypatch.setattr(profiling, "_LOGITS_AT_ONCE", 7 * 128)  # seven tokens at once: pieces end inside prompts
    pieces = profile(family, [tokens], cancel=cancel)
    for other in (merged, pieces):
        assert other.tokens.tolist() == whole.tokens.tolist()
        assert other.saturation.tolist() == whole.saturation.tolist()
        np.testing.assert_array_equal(other.classes.agree, whole.classes.agree)
        np.testing.assert_allclose(other.classes.divergence, whole.classes.divergence, rtol=1e-4, atol=1e-4)
        for rule, sums in whole.rules.items():
            assert np.abs(other.rules[rule].depth - sums.depth).sum() <= 4  # a threshold may lie on a rounding


def with_no_op_layers(model: PreTrainedModel, build: Build, name: str) -> PreTrainedModel:
    """The same model and two layers more, whose output projections are zero."""
    deeper = build(name, 6)
    weights = model.state_dict()
    deeper.load_state_dict(weights, strict=False)
    with torch.no_grad():
        for path, weight in deeper.named_parameters():
            if ("layers.4." in path or "layers.5." in path) and any(
                part in path for part in ("o_proj", "down_proj", "out_proj")
            ):
                weight.zero_()
    return deeper


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "olmoe", "mamba2"])
def test_two_layers_that_do_nothing_change_no_exit(
    build: Build, tokens: Tensor, cancel: CancelToken, name: str
) -> None:
    model = build(name)
    before, after = (profile(each, [tokens], cancel=cancel) for each in (model, with_no_op_layers(model, build, name)))
    assert after.saturation.tolist() == before.saturation.tolist()
    np.testing.assert_array_equal(after.classes.saturation[:, :4], before.classes.saturation)
    assert after.classes.saturation[:, 4:].sum() == 0
    mean_exit = before.saturation.sum() / before.tokens.sum()
    assert oracle_saving(before).gross == 1 - mean_exit / 4
    # Counting exits from the end, or a lens that norms twice at the last layer, would move it.
    assert oracle_saving(after).gross == 1 - mean_exit / 6
    assert (after.classes.agree[:, 3:] == after.classes.tokens[:, None]).all()


def test_classes_are_of_what_the_model_says(build: Build, tokens: Tensor, cancel: CancelToken) -> None:
    model = build("llama")
    halves = TokenClasses(("even", "odd"), (np.arange(128) % 2).astype(np.int8))
    found = profile(model, [tokens], classes=halves, cancel=cancel)
    with torch.no_grad():
        said = model(input_ids=tokens).logits.argmax(dim=-1)
    assert found.classes.tokens.tolist() == [int((said % 2 == 0).sum()), int((said % 2 == 1).sum())]
    assert found.classes.saturation.sum(axis=1).tolist() == found.classes.tokens.tolist()
    assert layer_curves(found, "odd").tokens == found.classes.tokens[1]  # type: ignore[union-attr]


def test_context_is_read_and_not_counted(build: Build, tokens: Tensor, cancel: CancelToken) -> None:
    model = build("llama")
    whole, rest = (profile(model, [tokens], skip=skip, cancel=cancel) for skip in (0, 5))
    assert rest.tokens.tolist() == [7] * 6
    first = profile(model, [tokens[:, :5]], cancel=cancel)
    assert (rest.saturation + first.saturation).tolist() == whole.saturation.tolist()


def test_probing_costs_what_heads_cost(build: Build, tokens: Tensor, cancel: CancelToken) -> None:
    found = profile(build("llama"), [tokens], cancel=cancel)
    head = found.head_layers
    curve = rule_curve(found, Rule.MAX_PROBABILITY)
    # The last threshold lets all go at layer 1 after one look; the first, none, after looks at all four.
    assert curve.gross[-1] == 0.75
    assert curve.net[-1] == pytest.approx(1 - (1 + head) / (4 + head))
    assert curve.gross[0] == 0.0
    assert curve.net[0] == pytest.approx(1 - (4 + 4 * head) / (4 + head))
    state = rule_curve(found, Rule.STATE_COSINE)
    assert state.net[-1] == pytest.approx(1 - (1 + head) / (4 + head))
    assert state.net[0] == pytest.approx(0.0)


def test_few_exits_cost_few_probes(build: Build, tokens: Tensor, cancel: CancelToken) -> None:
    found = profile(build("llama"), [tokens], exit_layers=[2], cancel=cancel)
    assert Rule.PATIENCE not in found.rules  # nothing to be patient with
    sums = found.rules[Rule.MAX_PROBABILITY]
    assert sums.depth[:, 0].sum() == 72 * 4
    assert sums.heads[:, 0].sum() == 72 * 2  # the probe at 2 and the answer's own
    assert sums.depth[:, -1].sum() == 72 * 2


def test_cancelled_between_layers(build: Build, tokens: Tensor) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        profile(build("llama"), [tokens], cancel=cancel)


def test_bad_input_and_damaged_shards(build: Build, tokens: Tensor, cancel: CancelToken) -> None:
    model = build("llama")
    for options, field in (
        ({"exit_layers": [0]}, r"exit_layers\[0\]"),
        ({"exit_layers": []}, "exit_layers"),
        ({"skip": 12}, "above 12"),
    ):
        with pytest.raises(InvalidInput, match=field):
            profile(model, [tokens], cancel=cancel, **options)
    with pytest.raises(InvalidInput, match="none"):
        profile(model, [], cancel=cancel)
    with pytest.raises(InvalidInput, match=r"outside 0\.\.127"):
        profile(model, [tokens + 100], cancel=cancel)
    found = profile(model, [tokens], cancel=cancel)
    with pytest.raises(InvalidInput, match="different models"):
        ExitProfile.merge([found, profile(build("llama", 3), [tokens], cancel=cancel)])
    files = found.to_files()
    with pytest.raises(DataLoss):
        ExitProfile.from_files({**files, SUMMARY: files[SUMMARY].replace(b'"depth": 4', b'"depth": 5')})
    with pytest.raises(DataLoss):
        ExitProfile.from_files({SUMMARY: files[SUMMARY]})
