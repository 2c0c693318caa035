from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from assay.cancel import CancelToken
from assay.errors import DataLoss, InvalidInput
from assay_tom_verifier.core.sensitivity.matrices import matrices
from assay_tom_verifier.core.sensitivity.parameter_mask import MatrixMask, ParameterMask
from assay_tom_verifier.core.sensitivity.perturb import perturbed
from assay_tom_verifier.core.sensitivity.rope import RopeAnalysis, analyze_rope, rope_change

IDS = [1, 17, 5, 40, 9, 22, 33]
HEADS, WIDTH = 2, 8


def _first_layer(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries and keys of layer 0, [H, T, d], before and after the rotation, from the model's own parts."""
    layer, ids = model.model.layers[0], torch.tensor([IDS])
    with torch.no_grad():
        hidden = layer.input_layernorm(model.model.embed_tokens(ids))
        query = layer.self_attn.q_proj(hidden).view(1, len(IDS), HEADS, WIDTH).transpose(1, 2)
        key = layer.self_attn.k_proj(hidden).view(1, len(IDS), 1, WIDTH).transpose(1, 2).expand(1, HEADS, -1, -1)
        cos, sin = model.model.rotary_emb(hidden, torch.arange(len(IDS))[None])
        turned = apply_rotary_pos_emb(query, key, cos, sin)
    return query[0], key[0], turned[0][0], turned[1][0]


def test_norms_angles_and_attention_are_those_of_the_models_own_parts(llama: PreTrainedModel) -> None:
    found = analyze_rope(llama, [IDS], cancel=CancelToken())
    query, key, turned_query, turned_key = _first_layer(llama)
    for vectors, norms in ((query, found.query_norms), (key, found.key_norms)):
        pairs = torch.stack([torch.hypot(vectors[..., j], vectors[..., j + 4]) for j in range(4)], dim=-1)
        np.testing.assert_allclose(norms[0], pairs.mean(1).numpy(), rtol=1e-5)
    angles, first, sink = [], [], []
    for head in range(HEADS):
        cosines = torch.nn.functional.cosine_similarity(turned_query[head][:, None], turned_key[head][None], dim=-1)
        scores = turned_query[head] @ turned_key[head].T / math.sqrt(WIDTH)
        earlier = [(t, s) for t in range(len(IDS)) for s in range(t)]
        angles.append(np.mean([math.acos(cosines[t, s]) for t, s in earlier]))
        first.append(np.mean([math.acos(cosines[t, 0]) for t in range(1, len(IDS))]))
        sink.append(np.mean([scores[t, : t + 1].softmax(0)[0] for t in range(1, len(IDS))]))
    np.testing.assert_allclose(found.angle[0], angles, rtol=1e-4)
    np.testing.assert_allclose(found.first_angle[0], first, rtol=1e-4)
    np.testing.assert_allclose(found.first_attention[0], sink, rtol=1e-4)


def test_frequencies_are_the_models_own(llama: PreTrainedModel) -> None:
    found = analyze_rope(llama, [IDS], cancel=CancelToken())
    np.testing.assert_allclose(found.frequencies, llama.model.rotary_emb.inv_freq.double().numpy(), rtol=1e-6)
    assert found.rotary == (True, True)


def test_a_model_without_rotation_is_told_from_one_with(without_rope: PreTrainedModel, gpt2: PreTrainedModel) -> None:
    for model in (without_rope, gpt2):
        assert analyze_rope(model, [IDS], cancel=CancelToken()).rotary == (False, False)


def test_the_model_answers_the_same_before_within_and_after(llama: PreTrainedModel) -> None:
    ids = torch.tensor([IDS])
    before, implementation = llama(ids).logits, llama.config._attn_implementation
    analyze_rope(llama, [IDS], cancel=CancelToken())
    assert llama.config._attn_implementation == implementation
    assert torch.equal(llama(ids).logits, before)


def test_silencing_a_heads_dominant_pair_shows_there_and_moves_it(llama: PreTrainedModel) -> None:
    before = analyze_rope(llama, [IDS], cancel=CancelToken())
    assert rope_change(before, before).dominant_norm == 0
    pair = int(before.dominant[0, 0])
    rows = torch.tensor([pair, pair + 4])
    name = next(iter(matrices(llama)))
    assert name.endswith("layers.0.self_attn.q_proj.weight")
    masked = torch.zeros(16, 16, dtype=torch.bool)
    masked[rows] = True
    mask = ParameterMask({name: MatrixMask(masked.flatten().nonzero().flatten(), (16, 16))})
    with perturbed(llama, mask):
        after = analyze_rope(llama, [IDS], cancel=CancelToken())
    # Two rows of equal weights of about 0 remain: next to nothing of the norm, and another pair leads.
    assert after.query_norms[0, 0, pair] < 0.2 * before.query_norms[0, 0, pair]
    assert after.dominant[0, 0] != pair
    change = rope_change(before, after)
    assert change.dominant_norm > 3 * change.other_norm
    assert change.moved >= 1 / 4


def test_texts_of_one_token_are_refused_and_analyses_come_back(llama: PreTrainedModel) -> None:
    with pytest.raises(InvalidInput, match="two tokens"):
        analyze_rope(llama, [[1]], cancel=CancelToken())
    found = analyze_rope(llama, [IDS, IDS[:4]], cancel=CancelToken())
    again = RopeAnalysis.from_json(found.to_json())
    np.testing.assert_array_equal(again.query_norms, found.query_norms)
    assert again.rotary == found.rotary
    with pytest.raises(DataLoss):
        RopeAnalysis.from_json(b"{}")
