"""Small models of Fox-1's shape, trained along its curriculum: three stages of growing length, then instructions.

Fox-1 goes from sequences of 2K tokens to 8K while data gets better and the learning rate falls. Here
lengths are divided by 32, and "better" is what local text offers: first docstrings and code in equal parts, in the end
four fifths code. All recipes but the instructed one read 460,800 tokens of the same mix in 225 updates of 2,048 tokens:
little for 0.8 million parameters, but thirty models (six recipes, five seeds) take half an hour of one core. Ablations
have as many parameters, within 2 %.
"""

from __future__ import annotations

from typing import Any

from assay.zoo.recipe import Recipe, Stage

LENGTH_DIVISOR = 32
_SHORT, _MIDDLE, _LONG = (length // LENGTH_DIVISOR for length in (2048, 4096, 8192))
_HIGH, _LOW = 3e-3, 3e-4

CURRICULUM = (
    Stage("1: broad, short", 100, 32, _SHORT, _HIGH, 0.6 * _HIGH, 25, mix=(("docstring", 0.5), ("code", 0.5))),
    Stage("2: longer", 100, 16, _MIDDLE, 0.6 * _HIGH, 2 * _LOW, mix=(("docstring", 0.4), ("code", 0.6))),
    Stage("3: narrow, long", 25, 8, _LONG, 2 * _LOW, _LOW / 2, mix=(("docstring", 0.2), ("code", 0.8))),
)
INSTRUCT = Stage("instruct", 50, 8, _LONG, 2 * _LOW, _LOW / 4, 5, source="instruct")

_TOKENS = sum(stage.steps * stage.batch * stage.sequence_length for stage in CURRICULUM)
# The mix that the three stages come to, read in sequences of one length.
_CODE = sum(
    dict(stage.mix)["code"] * stage.steps * stage.batch * stage.sequence_length / _TOKENS for stage in CURRICULUM
)
ONE_STAGE = (
    Stage(
        "one stage",
        _TOKENS // (16 * _MIDDLE),
        16,
        _MIDDLE,
        _HIGH,
        _LOW / 2,
        25,
        mix=(("docstring", round(1 - _CODE, 4)), ("code", round(_CODE, 4))),
    ),
)


def fox_config(
    *, layers: int = 8, width: int = 96, feed_forward: int = 192, heads: int = 4, kv_heads: int = 1
) -> dict[str, Any]:
    """Fox-1's proportions: feed-forward layers twice as wide as the model, four query heads to a key head."""
    return {
        "hidden_size": width,
        "intermediate_size": feed_forward,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": width // heads,
        "max_position_embeddings": 2 * _LONG,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "tie_word_embeddings": True,
    }


def _fox(name: str, about: str, stages: tuple[Stage, ...], config: dict[str, Any], vocabulary: int = 2048) -> Recipe:
    return Recipe(
        name,
        about,
        "llama",
        config,
        steps=sum(stage.steps for stage in stages),
        sequence_length=_LONG,
        vocabulary=vocabulary,
        stages=stages,
    )


FOX: tuple[Recipe, ...] = (
    _fox("fox-tiny", "Fox-1's shape small, three stages of data, length and learning rate", CURRICULUM, fox_config()),
    _fox("fox-tiny-one-stage", "the same tokens and model in one stage", ONE_STAGE, fox_config()),
    _fox("fox-tiny-instruct", "fox-tiny, then requests and answers", (*CURRICULUM, INSTRUCT), fox_config()),
    _fox(
        "fox-tiny-shallow",
        "one stage; 3 wide layers in place of 8",
        ONE_STAGE,
        fox_config(layers=3, width=144, feed_forward=288),
    ),
    _fox(
        "fox-tiny-vocab-512",
        "one stage; a quarter of the vocabulary, two more layers",
        ONE_STAGE,
        fox_config(layers=10),
        512,
    ),
    _fox(
        "fox-tiny-mha",
        "one stage; a key head for every query head, narrower feed-forward layers",
        ONE_STAGE,
        fox_config(feed_forward=144, kv_heads=4),
    ),
)
