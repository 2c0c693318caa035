"""A balanced model on disk: its bytes are those planned, the rest is as it was, damage is found."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import MixtralConfig, MixtralForCausalLM, PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import Cancelled, DataLoss, FailedPrecondition
from assay.models.checkpoint import load_model
from assay.models.predict import predict
from assay_moe_router.core.export import EXPERTS, LAYOUT, REST, expert_file_bytes, read_balanced, write_balanced
from assay_moe_router.core.plan import DOCUMENT, BalancePlan
from assay_moe_router.core.replicate_quantize import Policy
from assay_moe_router.core.routing import observe
from assay_moe_router.core.sites import find_sites

Build = Callable[[str], PreTrainedModel]
PlanOf = Callable[..., BalancePlan]
Saved = Callable[[PreTrainedModel], tuple[Path, PreTrainedModel]]
NAMES = ["mixtral", "olmoe", "qwen3_moe", "deepseek_v3", "gpt_oss", "switch"]


def header(path: Path) -> dict[str, dict[str, Any]]:
    """A safetensors file's own account of itself, read with nothing but the format's definition."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    return entries


def bytes_of(entries: dict[str, dict[str, Any]]) -> int:
    return sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in entries.values())


def write(folder: Path, model: PreTrainedModel, plan: BalancePlan) -> Path:
    destination = folder.parent / "balanced"
    write_balanced(folder, model, plan, destination, cancel=CancelToken())
    return destination


@pytest.fixture
def balanced_folder(build: Build, plan_of: PlanOf, saved: Saved, tokens: Tensor) -> Path:
    """A balanced GPT-OSS: transposed, biased, with quantized slots and unquantized ones."""
    folder, stored = saved(build("gpt_oss"))
    return write(folder, stored, plan_of(load_model(folder), tokens, policy=Policy.BYTES))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_bytes_on_disk_are_those_planned_and_no_more_than_before(
    build: Build, plan_of: PlanOf, saved: Saved, tokens: Tensor, name: str
) -> None:
    folder, stored = saved(build(name))
    experts = {name: entry for name, entry in header(folder / "model.safetensors").items() if "experts." in name}
    if name == "deepseek_v3":
        experts = {name: entry for name, entry in experts.items() if "shared_experts" not in name}
    assert {entry["dtype"] for entry in experts.values()} == {"BF16"}
    plan = plan_of(load_model(folder), tokens, policy=Policy.BYTES, bits=(8, 4))
    destination = write(folder, stored, plan)
    assert plan.bytes_before == bytes_of(experts)
    assert bytes_of(header(destination / EXPERTS)) == plan.bytes_after <= plan.bytes_before
    assert expert_file_bytes(destination) == plan.bytes_after
    assert sum(layer.replicas for layer in plan.layers) > 0


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_all_but_the_experts_is_kept_byte_for_byte(
    build: Build, plan_of: PlanOf, saved: Saved, tokens: Tensor, name: str
) -> None:
    folder, stored = saved(build(name))
    destination = write(folder, stored, plan_of(load_model(folder), tokens, policy=Policy.BYTES))
    routed = {name for site in find_sites(stored) for name in site.parameter_names()}
    rest = load_file(destination / REST)
    assert not routed & set(rest)
    before = load_model(folder).state_dict()
    for key, value in rest.items():
        assert value.dtype == before[key].dtype
        assert value.contiguous().view(torch.uint8).tolist() == before[key].contiguous().view(torch.uint8).tolist()
    # Routers above all: a quantized one would send tokens elsewhere.
    routers = [key for key in rest if key.endswith((".gate.weight", ".router.weight", "router.classifier.weight"))]
    assert len(routers) == len(find_sites(stored))
    # Nothing is left out: what is neither an expert nor in the file shares its memory with something that is.
    kept = {before[key].data_ptr() for key in rest}
    assert all(value.data_ptr() in kept for key, value in before.items() if key not in routed)
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            assert (destination / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_an_exact_plan_comes_back_as_the_model_itself(
    build: Build, plan_of: PlanOf, saved: Saved, tokens: Tensor, name: str
) -> None:
    folder, stored = saved(build(name))
    destination = write(folder, stored, plan_of(load_model(folder), tokens, exact=True))
    original = load_model(folder, dtype=torch.float32)
    balanced = read_balanced(destination)
    with observe(original) as before:
        expected = predict(original, tokens)[0].logits
    with balanced.running() as counts:
        found = predict(balanced.model, tokens)[0].logits
    assert torch.equal(found, expected)
    assert not balanced.model.training
    for layer in before.statistics().layers:
        assert counts.experts(layer.layer).tolist() == (layer.loads - layer.dropped).tolist()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_no_second_copy_of_the_experts_is_held(
    build: Build, plan_of: PlanOf, saved: Saved, tokens: Tensor, name: str
) -> None:
    folder, stored = saved(build(name))
    destination = write(folder, stored, plan_of(load_model(folder), tokens, policy=Policy.BYTES))
    model = read_balanced(destination).model
    experts = sum(value.numel() for site in find_sites(stored) for e in range(8) for value in site.weights(e).values())
    assert sum(value.numel() for value in model.parameters()) == stored.num_parameters() - experts
    assert experts > stored.num_parameters() / 4


@torch.no_grad()
def test_tied_embeddings_are_written_once_and_stay_tied(plan_of: PlanOf, saved: Saved, tokens: Tensor) -> None:
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=24, num_local_experts=4, num_experts_per_tok=1, tie_word_embeddings=True,
    )  # fmt: skip
    folder, stored = saved(MixtralForCausalLM(config))
    destination = write(folder, stored, plan_of(load_model(folder), tokens, exact=True))
    assert sum("embed_tokens" in key or "lm_head" in key for key in header(destination / REST)) == 1
    model = read_balanced(destination)
    assert model.model.lm_head.weight is model.model.model.embed_tokens.weight
    original = load_model(folder, dtype=torch.float32)
    with observe(original), model.running():
        assert torch.equal(predict(model.model, tokens)[0].logits, predict(original, tokens)[0].logits)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff\x00garbage" * 20)


@pytest.mark.parametrize("damage", [cut, halve, garbage, Path.unlink], ids=["cut", "halved", "garbage", "missing"])
@pytest.mark.parametrize("name", [EXPERTS, REST, DOCUMENT, LAYOUT, "config.json"])
def test_damaged_and_missing_files_are_data_loss(
    balanced_folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(balanced_folder / name)
    with pytest.raises(DataLoss, match="apply the plan again"):
        read_balanced(balanced_folder)


def test_tensors_that_are_missing_foreign_or_of_another_shape_are_data_loss(balanced_folder: Path) -> None:
    for name in (EXPERTS, REST):
        whole = load_file(balanced_folder / name)
        first = sorted(whole)[0]
        for tensors in (
            {key: value for key, value in whole.items() if key != first},
            {**whole, "foreign": torch.zeros(2)},
            {**whole, first: torch.zeros(3, dtype=whole[first].dtype)},
        ):
            save_file(tensors, balanced_folder / name)
            with pytest.raises(DataLoss):
                read_balanced(balanced_folder)
        save_file(whole, balanced_folder / name)
        read_balanced(balanced_folder)


def test_a_config_of_another_model_is_data_loss(balanced_folder: Path, build: Build, tmp_path: Path) -> None:
    build("llama").config.save_pretrained(tmp_path / "dense")
    shutil.copyfile(tmp_path / "dense" / "config.json", balanced_folder / "config.json")
    with pytest.raises(DataLoss):
        read_balanced(balanced_folder)


@pytest.mark.parametrize("other", ["deepseek_v3", "switch", "olmoe"])
def test_a_plan_of_another_model_is_refused_and_leaves_nothing(
    build: Build, plan_of: PlanOf, saved: Saved, tokens: Tensor, other: str
) -> None:
    # Other layers, other layers again, and the same layers with experts of the same shape but float32.
    plan = plan_of(build(other), tokens, policy=Policy.BYTES)
    folder, stored = saved(build("mixtral"))
    with pytest.raises(FailedPrecondition, match="plan again for this model") as caught:
        write(folder, stored, plan)
    assert caught.value.reason == "PLAN_OF_ANOTHER_MODEL"
    assert not (folder.parent / "balanced").exists()


def test_a_plan_for_fewer_experts_is_refused_though_its_bytes_fit(
    build: Build, plan_of: PlanOf, saved: Saved, tokens: Tensor
) -> None:
    # Half of the experts and no replicas: every byte the plan names is there, and half of the model would be dropped.
    folder, stored = saved(build("mixtral"))
    whole = json.loads(plan_of(load_model(folder), tokens, target_load_imbalance=8.0).to_json())
    for layer in whole["layers"]:
        layer.update(experts=4, **{key: layer[key][:4] for key in ("slot_experts", "slot_bits", "slot_bytes")})
        layer["expert_tokens"] = layer["expert_tokens"][:4]
    with pytest.raises(FailedPrecondition, match="the model has"):
        write(folder, stored, BalancePlan.from_json(json.dumps(whole).encode()))


def test_no_file_of_the_checkpoint_stands_in_place_of_the_plan(
    build: Build, plan_of: PlanOf, saved: Saved, tokens: Tensor
) -> None:
    folder, stored = saved(build("mixtral"))
    (folder / DOCUMENT).write_text("{}")
    (folder / LAYOUT).write_text("{}")
    plan = plan_of(load_model(folder), tokens)
    assert read_balanced(write(folder, stored, plan)).plan == plan


def test_cancelled_work_leaves_no_folder(build: Build, plan_of: PlanOf, saved: Saved, tokens: Tensor) -> None:
    folder, stored = saved(build("mixtral"))
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        write_balanced(folder, stored, plan_of(load_model(folder), tokens), folder.parent / "balanced", cancel=cancel)
    assert not (folder.parent / "balanced").exists()
