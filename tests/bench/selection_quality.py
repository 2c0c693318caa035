"""What sparse attention costs on text whose far context is worth something, for every way to choose blocks.

    PYTHONPATH=tests python -m bench.selection_quality [--seeds N...] [--sequences N] [--out FILE]

The model is the zoo's `repeats-lm`; the store that ASSAY_STORE names is asked first, and what it lacks is trained, some
minutes a seed. Code passages of the test split, two to six blocks of 16 tokens each, come back after a quarter of 1024
tokens or more: a plain window cannot tell what comes next there. All methods attend to a fifth of the causal pairs,
counted, in every layer; loss is read in one prefill and token by token. Bars, each seed: context is worth 0.05 nats,
and Sketch&Walk keeps 80 % of that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.config import Config
from assay.models.checkpoint import load_model, load_tokenizer
from assay.progress import silent
from assay.zoo.passages import read_passages, tokenised
from assay.zoo.recipes import recipe
from assay.zoo.repeats import repeats_batch
from assay.zoo.store import ensure_model, ensure_text
from assay_inference_optimizer.core.sparse.config import Method, SparseConfig, Variant
from assay_inference_optimizer.core.sparse.quality import Interval, MethodLoss, compare_methods

RECIPE, TOKENS = "repeats-lm", 1024
DENSITY, MIN_WORTH_NATS, MIN_KEPT = 0.2, 0.05, 0.8
DECODED = 128
# 64 blocks in 1024 tokens, as 64 tokens a block have in 4096.
BASE = SparseConfig(block_size=16, sink_tokens=16, window_tokens=16, target_density=DENSITY, dense_layers=0)


@dataclass(frozen=True)
class Setting:
    """One table. scored_from: tokens before it see nearly all of their context under any method."""

    name: str
    sparse: SparseConfig
    methods: tuple[Method, ...]
    decode_from: int | None = None


FEW = (Method.SKETCH_WALK, Method.ONE_HOP, Method.SINK_WINDOW)
SETTINGS = (
    Setting("prefill, sketch_dim = head_dim", BASE, tuple(Method)),
    Setting("prefill, sketch_dim = head_dim / 4", replace(BASE, sketch_dim=8), FEW),
    Setting("prefill, v1", replace(BASE, variant=Variant.V1), FEW),
    Setting("prefill, first two layers dense", replace(BASE, dense_layers=2), FEW),
    # The density that 80 % would take.
    *(Setting(f"prefill, density {share}", replace(BASE, target_density=share), FEW) for share in (0.3, 0.4, 0.5)),
    Setting("token by token, sketch_dim = head_dim", BASE, tuple(Method), decode_from=TOKENS - DECODED),
)


def main(seeds: list[int], sequences: int, out: Path | None) -> bool:
    """Prints a table for each setting and seed; says whether every bar was met."""
    torch.set_num_threads(1)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(f"{platform.processor() or platform.machine()}, one thread, fp32, {versions}")
    config = Config.from_environment()
    artifacts = config.open_artifacts()
    text, cancel = ensure_text(artifacts), CancelToken()
    runs: list[dict[str, Any]] = []
    machine: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "load_before": os.getloadavg()[0]}
    met = True
    for seed in seeds:
        digest = ensure_model(artifacts, recipe(RECIPE), seed=seed, cancel=cancel, progress=silent, text=text)
        folder = artifacts.path(digest)
        model = load_model(folder, dtype=torch.float32)
        ids = draw(artifacts.path(text), load_tokenizer(folder), sequences, cancel)
        for setting in SETTINGS:
            rows = measure(model, ids, setting, cancel)
            met &= judge(setting, seed, rows)
            runs.append({"seed": seed, "setting": setting.name, "methods": [asdict(row) for row in rows]})
    machine["load_after"] = os.getloadavg()[0]
    document = {"bench": "selection_quality", "sequences": sequences, "all_bars_met": met, **machine, **versions}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({**document, "runs": runs}, sort_keys=True, separators=(",", ":")) + "\n")
    print(json.dumps(document))
    return met


def draw(text: Path, tokenizer: PreTrainedTokenizerBase, sequences: int, cancel: CancelToken) -> Tensor:
    """[sequences, TOKENS + 1] of the test split's passages, always the same ones."""
    passages = tokenised(list(read_passages(text, "test", cancel=cancel)), tokenizer, cancel=cancel)
    return repeats_batch(passages, sequences, TOKENS + 1, torch.Generator().manual_seed(0)).ids


def measure(model: PreTrainedModel, ids: Tensor, setting: Setting, cancel: CancelToken) -> list[MethodLoss]:
    return compare_methods(
        model,
        ids,
        setting.sparse,
        setting.methods,
        decode_from=setting.decode_from,
        score_from=TOKENS // 4,
        batch=8,
        cancel=cancel,
    )


def judge(setting: Setting, seed: int, rows: list[MethodLoss]) -> bool:
    """Prints the table; whether its bars are met. Two dense layers of three are no fifth: that table has no bar."""
    print(f"\nseed {seed}, {setting.name}")
    for row in rows:
        kept = "" if row.gain_kept is None else f"  keeps {_interval(row.gain_kept, 100, '.0f')} %"
        rise = _interval(row.rise, 1, "+.4f")
        print(f"  {row.method.value:12} {row.loss_nats:.4f} nats  density {row.density:.4f}  rise {rise}{kept}")
    found = {row.method: row for row in rows}
    worth, walk = found[Method.SINK_WINDOW].rise.mean, found[Method.SKETCH_WALK]
    if setting.sparse.dense_layers or setting.sparse != BASE:
        return True
    kept = 1 - walk.rise.mean / worth
    passed = worth >= MIN_WORTH_NATS and kept >= MIN_KEPT and walk.density <= DENSITY + 0.005
    print(f"  {'met' if passed else 'MISSED'}: context is worth {worth:.3f} nats, Sketch&Walk keeps {kept:.1%}")
    return passed


def _interval(found: Interval, factor: float, form: str) -> str:
    mean, low, high = (format(factor * value, form) for value in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sequences", type=int, default=24)
    parser.add_argument("--out", type=Path, help="writes every figure there, as JSON")
    arguments = parser.parse_args()
    sys.exit(0 if main(arguments.seeds, arguments.sequences, arguments.out) else 1)
