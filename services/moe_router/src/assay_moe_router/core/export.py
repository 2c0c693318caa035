"""A balanced model on disk: packed experts, everything else as it was, and the plan; complete in itself.

experts.safetensors   the slots of all layers
rest.safetensors      all other tensors of the checkpoint, byte for byte
plan.json, layout.json, config.json and the tokenizer's files
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import AssayError, DataLoss, FailedPrecondition
from assay.models.loading import transformers_loading
from assay.progress import Progress, silent
from assay_moe_router.core.balanced import SlotCounts, balanced
from assay_moe_router.core.layers import ModelLayout, describe, unique_tensors
from assay_moe_router.core.packed_experts import PackedExperts, pack, packed_bytes
from assay_moe_router.core.plan import DOCUMENT, MISMATCH, BalancePlan
from assay_moe_router.core.sites import Site, find_sites

EXPERTS = "experts.safetensors"
REST = "rest.safetensors"
LAYOUT = "layout.json"
WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth"})
# What reading damaged files raises; the last comes from transformers' check of config.json.
UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError)


@dataclass(frozen=True)
class BalancedModel:
    """model: its routed experts' own parameters are empty; what they would compute comes from `packed`, by layer."""

    model: PreTrainedModel
    plan: BalancePlan
    packed: dict[int, PackedExperts]

    @contextmanager
    def running(self) -> Iterator[SlotCounts]:
        """Inside the block `model` computes as the plan says."""
        with balanced(self.model, self.plan, self.packed) as counts:
            yield counts


def write_balanced(
    checkpoint: Path,
    model: PreTrainedModel,
    plan: BalancePlan,
    destination: Path,
    *,
    cancel: CancelToken,
    progress: Progress = silent,
) -> None:
    """Writes the balanced model to the new directory `destination`.

    model: loaded from `checkpoint` in its stored type and not run since, because Switch's routers widen their weights
    when they run. Raises FailedPrecondition where layers, experts or packed bytes
    are not those of the plan: then plan and model do not belong together.
    """
    layout = describe(model)
    sites = find_sites(model)
    _check_belongs(plan, sites)
    experts: dict[str, Tensor] = {}
    for done, site in enumerate(sites):
        cancel.check()
        progress(done, len(sites), "layers packed")
        packed = pack(site, plan.layer(site.layer))
        if packed_bytes(packed) != plan.layer(site.layer).bytes_after:
            raise FailedPrecondition(
                f"layer {site.layer} packs to {packed_bytes(packed)} bytes, the plan says "
                f"{plan.layer(site.layer).bytes_after}; plan again for this model",
                reason=MISMATCH,
            )
        experts.update(packed)
    routed = {name for site in sites for name in site.parameter_names()}
    rest = {name: value.contiguous() for name, value in unique_tensors(model).items() if name not in routed}
    destination.mkdir(parents=True)
    # First what came with the checkpoint, so that no file of its can stand in place of one of ours.
    for file in sorted(checkpoint.iterdir()):
        if file.is_file() and file.suffix not in WEIGHTS and not file.name.endswith(".index.json"):
            shutil.copyfile(file, destination / file.name)
    save_file({name: value.contiguous() for name, value in experts.items()}, destination / EXPERTS)
    save_file(rest, destination / REST)
    (destination / DOCUMENT).write_bytes(plan.to_json())
    (destination / LAYOUT).write_text(json.dumps(layout.to_json(), indent=1, sort_keys=True))
    progress(len(sites), len(sites), "layers packed")


def read_balanced(directory: Path, *, dtype: torch.dtype = torch.float32) -> BalancedModel:
    """The balanced model in evaluation mode, computing in `dtype`. DataLoss where a file is damaged or missing."""
    try:
        plan = BalancePlan.from_json((directory / DOCUMENT).read_bytes())
        layout = ModelLayout.from_json(json.loads((directory / LAYOUT).read_text()))
        experts, rest = load_file(directory / EXPERTS), load_file(directory / REST)
        with transformers_loading():
            config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
            factory = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            model: PreTrainedModel = factory.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
        sites = find_sites(model)
        _check_belongs(plan, sites)
        described = {layer.layer: layout.layer(layer.layer) for layer in plan.layers}
    except (*UNREADABLE, AssayError) as error:
        raise DataLoss("the balanced model is damaged or incomplete; apply the plan again") from error
    packed = {layer.layer: PackedExperts(layer, experts, described[layer.layer], dtype) for layer in plan.layers}
    if packed_bytes(experts) != plan.bytes_after:
        raise DataLoss(
            f"the packed experts take {packed_bytes(experts)} bytes, their plan {plan.bytes_after}; apply it again"
        )
    routed = {name for site in sites for name in site.parameter_names()}
    for name in sorted((set(unique_tensors(model)) - routed) ^ set(rest)):
        raise DataLoss(f"{name} is missing from the balanced model, or foreign to it; apply the plan again")
    try:
        model.load_state_dict(rest, strict=False)
    except RuntimeError as error:
        raise DataLoss("weights of the balanced model do not fit its config; apply the plan again") from error
    _empty(model, routed)
    model.eval()  # type: ignore[no-untyped-call]
    return BalancedModel(model, plan, packed)


def expert_file_bytes(directory: Path) -> int:
    """Bytes of all tensors in the packed experts' file, from its header alone."""
    with safe_open(directory / EXPERTS, framework="pt") as stored:
        views = [stored.get_slice(name) for name in stored.keys()]  # noqa: SIM118
        return sum(_item(view.get_dtype()) * _product(view.get_shape()) for view in views)


def _check_belongs(plan: BalancePlan, sites: Sequence[Site]) -> None:
    planned = {layer.layer: layer.experts for layer in plan.layers}
    there = {site.layer: site.experts for site in sites}
    if planned != there:
        raise FailedPrecondition(
            f"the plan is for layers of experts {planned}, the model has {there}; plan again for this model",
            reason=MISMATCH,
        )


def _empty(model: PreTrainedModel, names: set[str]) -> None:
    """Frees the experts' own parameters: a balanced model must not hold its experts twice."""
    for name in names:
        path, _, parameter = name.rpartition(".")
        value = getattr(model.get_submodule(path), parameter)
        # The first dimension stays: it tells fused parameters by their number of experts.
        value.data = value.data.new_empty((value.shape[0], *(0 for _ in value.shape[1:])))


def _item(dtype: str) -> int:
    return {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I8": 1, "U8": 1}[dtype]


def _product(shape: list[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
