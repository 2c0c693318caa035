"""One trained zoo model, calibrated, with the texts that everything is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assay.cancel import CancelToken
from assay.config import Config
from assay.models.checkpoint import load_model, load_tokenizer
from assay.models.windows import Windows, cut_windows
from assay.progress import silent
from assay.zoo.corpus import read_split
from assay.zoo.recipes import recipe as recipe_of
from assay.zoo.store import ensure_model
from assay_moe_router.core.importance import Importance, Metric
from assay_moe_router.core.layers import ModelLayout, describe
from assay_moe_router.core.leave_one_out import leave_one_out
from assay_moe_router.core.packed_experts import expert_bytes
from assay_moe_router.core.predictions import predictions
from assay_moe_router.core.replicate_quantize import ExpertBytes
from assay_moe_router.core.routing import observe
from assay_moe_router.core.sites import find_sites
from assay_moe_router.core.statistics import LayerRouting, RoutingStatistics

TOKENS = 128
SEQUENCES = 256
BATCH = 32
# Nobody cancels a benchmark but by stopping the process.
CANCEL = CancelToken()


@dataclass(frozen=True)
class Subject:
    """model: in float32; stored: as saved, bfloat16.

    calibration, test: SEQUENCES windows spread evenly over their split; reservoir, traffic: all windows of the same
    splits, as routed. importance: leave-one-out loss on `calibration`.
    """

    recipe: str
    seed: int
    digest: str
    directory: Path
    model: PreTrainedModel
    stored: PreTrainedModel
    layout: ModelLayout
    calibration: Windows
    test: Windows
    statistics: RoutingStatistics
    reservoir: RoutingStatistics
    reservoir_domains: tuple[str, ...]
    traffic: RoutingStatistics
    traffic_domains: tuple[str, ...]
    importance: Importance

    @property
    def expert_bytes(self) -> dict[int, ExpertBytes]:
        return {layer.layer: expert_bytes(layer) for layer in self.layout.layers}


def trained(recipe: str, seed: int, text: str) -> str:
    """Digest of the zoo's model in the store of ASSAY_STORE; trained now where it is not there yet."""
    artifacts = Config.from_environment().open_artifacts()
    return ensure_model(artifacts, recipe_of(recipe), seed=seed, cancel=CANCEL, progress=silent, text=text)


def open_subject(recipe: str, seed: int, text: str) -> Subject:
    """text: digest of the text the model was trained on."""
    artifacts = Config.from_environment().open_artifacts()
    digest = trained(recipe, seed, text)
    directory, text_dir = artifacts.path(digest), artifacts.path(text)
    tokenizer = load_tokenizer(directory)
    model, stored = load_model(directory, dtype=torch.float32), load_model(directory)
    reservoir, traffic = (all_windows(text_dir, split, tokenizer) for split in ("calibration", "test"))
    calibration, test = (part(windows, spread(windows.sequences, SEQUENCES)) for windows in (reservoir, traffic))
    return Subject(
        recipe=recipe,
        seed=seed,
        digest=digest,
        directory=directory,
        model=model,
        stored=stored,
        layout=describe(stored),
        calibration=calibration,
        test=test,
        statistics=routed(model, calibration),
        reservoir=routed(model, reservoir),
        reservoir_domains=reservoir.domains,
        traffic=routed(model, traffic),
        traffic_domains=traffic.domains,
        importance=Importance.merge(
            [
                leave_one_out(
                    model,
                    calibration,
                    Metric.LEAVE_ONE_OUT_LOSS,
                    site.layer,
                    range(site.experts),
                    batch=BATCH,
                    cancel=CANCEL,
                )
                for site in find_sites(model)
            ]
        ),
    )


def all_windows(text_dir: Path, split: str, tokenizer: PreTrainedTokenizerBase) -> Windows:
    return cut_windows(read_split(text_dir, split), tokenizer, sequence_tokens=TOKENS, cancel=CANCEL)


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` positions evenly over 0..count-1: neighbours come from one file, and a file is no sample of a split."""
    if count < wanted:
        raise SystemExit(f"the split holds {count} sequences of {TOKENS} tokens; {wanted} are needed")
    return (np.arange(wanted) * count // wanted).tolist()


def part(windows: Windows, rows: list[int]) -> Windows:
    return Windows(windows.ids[rows], tuple(windows.domains[row] for row in rows))


def routed(model: PreTrainedModel, windows: Windows) -> RoutingStatistics:
    with observe(model) as observer:
        predictions(model, windows, BATCH, cancel=CANCEL)
    return observer.statistics()


def rows_of(statistics: RoutingStatistics, rows: list[int]) -> RoutingStatistics:
    """The same routing, these sequences alone and in this order."""
    return RoutingStatistics(
        tuple(
            LayerRouting.from_choices(
                layer.layer,
                layer.experts,
                layer.choices[rows],
                weight_sums=np.zeros(layer.experts),
                dropped=np.zeros(layer.experts, dtype=np.int64),
                masked_tokens=0,
            )
            for layer in statistics.layers
        )
    )
