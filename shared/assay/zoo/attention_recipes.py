"""Models that sparse attention is judged on: what they are asked for stands beyond any window.

Small enough to train in minutes on one core, with room for sparsity: 64 blocks of 16 tokens in 1024.
"""

from __future__ import annotations

from typing import Any

from assay.zoo.recall_words import VOCABULARY, question_tokens, questions_beside
from assay.zoo.recipe import Recipe, Stage

CONTEXT = 1024


def _llama(layers: int, heads: int, head_dim: int, **settings: Any) -> dict[str, Any]:
    width = heads * head_dim
    return {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": head_dim,
        "max_position_embeddings": 2 * CONTEXT,
        # So wide, copying is learned within 200 steps; at the usual 0.02 not within 350.
        "initializer_range": 0.05,
        "tie_word_embeddings": True,
        **settings,
    }


def _recall_stage(
    pairs: int, noise: int, steps: int, batch: int, rates: tuple[float, float], *, hops: int = 2, restated: int = 1
) -> Stage:
    """noise: tokens between the pairs."""
    tokens = 2 * restated * pairs + question_tokens(restated) * questions_beside(pairs, restated) + noise
    return Stage(
        f"{pairs} pairs" + ("" if restated == 1 else f", {restated} times"),
        steps,
        batch,
        tokens - 1,
        *rates,
        source="recall",
        pairs=pairs,
        hops=hops,
        restated=restated,
    )


_FAST, _STEADY, _FINE = 3e-3, 2e-3, 1e-3
# Copying first, then two hops over few pairs, then ever more pairs ever further apart. A leap in the noise between
# pairs undoes what was learned, for good where it is tenfold.
_RECALL_STAGES = (
    Stage("copying", 220, 64, 31, _FAST, _FAST, warmup_steps=50, source="copies"),
    _recall_stage(4, 4, 60, 64, (_FAST, _FAST), hops=1),
    _recall_stage(6, 4, 450, 64, (_FAST, _FAST)),
    _recall_stage(7, 10, 60, 64, (_STEADY, _STEADY)),
    _recall_stage(8, 20, 60, 64, (_STEADY, _STEADY)),
    _recall_stage(9, 35, 60, 48, (_STEADY, _STEADY)),
    _recall_stage(10, 60, 60, 48, (_STEADY, _STEADY)),
    _recall_stage(12, 100, 60, 32, (_STEADY, _STEADY)),
    _recall_stage(14, 160, 60, 24, (_STEADY, _STEADY)),
    _recall_stage(16, 260, 60, 16, (_STEADY, _STEADY)),
    _recall_stage(20, 480, 60, 12, (_STEADY, _FINE)),
    _recall_stage(24, 905, 80, 8, (_FINE, 1e-4)),
)

# Pairs a few tokens apart first, then every pair and every question said again and again: what a block is about, not
# one word. One head of 64 and a slow rotation leave more dimensions for content far away, which a block's mean needs.
# With one head a layer, two hops are learned where one hop was learned to its end before: asked for after 60 steps of
# one hop, seed 2 stays at guessing.
_PASSAGES_STAGES = (
    _RECALL_STAGES[0],
    _recall_stage(4, 4, 250, 64, (_FAST, _FAST), hops=1),
    _recall_stage(6, 4, 350, 64, (_FAST, _FAST), hops=1),
    _recall_stage(6, 4, 500, 64, (_FAST, _FAST)),
    _RECALL_STAGES[3],
    _recall_stage(8, 20, 60, 48, (_STEADY, _STEADY), restated=2),
    _recall_stage(9, 35, 50, 32, (_STEADY, _STEADY), restated=3),
    _recall_stage(10, 60, 50, 32, (_STEADY, _STEADY), restated=4),
    _recall_stage(12, 100, 50, 24, (_STEADY, _STEADY), restated=6),
    _recall_stage(16, 150, 60, 16, (_STEADY, _STEADY), restated=8),
    _recall_stage(20, 260, 60, 12, (_STEADY, _FINE), restated=8),
    _recall_stage(24, 436, 110, 8, (_FINE, 1e-4), restated=8),
)

# Copying over all 1022 tokens alike takes thousands of steps, and over a few of them is lost when others join. With
# skewed odds the few come first and the others are never new. Then text, whose repeats stand further and further apart.
_REPEATS_STAGES = (
    Stage("copying", 800, 64, 31, _FAST, _FAST, warmup_steps=50, source="copies", skew=1.0),
    Stage("near", 200, 16, 192, _STEADY, _STEADY, warmup_steps=30, source="repeats"),
    Stage("far", 120, 8, 512, _STEADY, _FINE, source="repeats"),
    Stage("whole", 160, 6, CONTEXT, _FINE, 1e-4, source="repeats"),
)

_BYTE_STAGES = (
    Stage("short", 900, 16, 128, _FAST, _STEADY, warmup_steps=50),
    Stage("long", 120, 4, CONTEXT, _STEADY, 2e-4),
)

ATTENTION: tuple[Recipe, ...] = (
    Recipe(
        "recall",
        "Llama of 4 layers that looks pairs up in 1024 tokens, over one hop and over two",
        "llama",
        _llama(4, 2, 32),
        steps=sum(stage.steps for stage in _RECALL_STAGES),
        stages=_RECALL_STAGES,
        sequence_length=CONTEXT,
        vocabulary=VOCABULARY,
        source="recall",
    ),
    Recipe(
        "recall-passages",
        "the same with each pair and the question stated eight times in a row, as long as a block",
        "llama",
        _llama(4, 1, 64, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
        steps=sum(stage.steps for stage in _PASSAGES_STAGES),
        stages=_PASSAGES_STAGES,
        sequence_length=CONTEXT,
        vocabulary=VOCABULARY,
        source="recall",
    ),
    Recipe(
        "repeats-lm",
        "Llama of 3 layers for code whose functions come back after a quarter of 1024 tokens or more",
        "llama",
        _llama(3, 4, 32),
        steps=sum(stage.steps for stage in _REPEATS_STAGES),
        stages=_REPEATS_STAGES,
        sequence_length=CONTEXT,
        vocabulary=1024,
        source="repeats",
    ),
    Recipe(
        "byte-lm",
        "Llama of 4 layers that reads bytes, 1024 of them",
        "llama",
        _llama(4, 4, 32),
        steps=sum(stage.steps for stage in _BYTE_STAGES),
        stages=_BYTE_STAGES,
        sequence_length=CONTEXT,
        # Pad, end and the 256 bytes: a tokenizer with no room for merges.
        vocabulary=258,
    ),
)
