"""Where a model's routed experts are, and one way to run and to replace them in every family.

Families whose experts transformers decorates keep all experts of a layer in 3-D parameters and can be given
another forward function by name. Switch Transformers keeps a module per expert, ignores that name without a word
and is given another forward directly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersExperts

from assay.errors import Unimplemented

IMPLEMENTATION = "assay"
_HANDLER = "_assay_run"

# Computes an experts module's output: (hidden [N, H], expert index [N, k], weight [N, k]) -> [N, H].
RunExperts = Callable[[Tensor, Tensor, Tensor], Tensor]
# One expert's parameters by name, e.g. {"gate_up_proj": [2I, H], "down_proj": [H, I]}.
ExpertWeights = dict[str, Tensor]


@dataclass(frozen=True)
class Site:
    """The routed experts of one layer.

    layer: index of the decoder layer; an encoder-decoder counts its encoder's blocks first.
    path: name of the experts module. router_path: of what chooses among them.
    """

    layer: int
    path: str
    router_path: str
    module: nn.Module
    experts: int
    top_k: int

    @property
    def switch(self) -> bool:
        return isinstance(self.module, SwitchTransformersExperts)

    @property
    def transposed(self) -> bool:
        """Whether weights are stored [in, out] instead of [out, in]."""
        return bool(getattr(self.module, "is_transposed", False))

    def weights(self, expert: int) -> ExpertWeights:
        """The parameters of one expert, by name; views, not copies."""
        if self.switch:
            return {name: value.data for name, value in self.module[f"expert_{expert}"].named_parameters()}  # type: ignore[index]
        return {name: value.data[expert] for name, value in self._fused()}

    def matrices(self) -> tuple[str, ...]:
        """Names of the parameters that are matrices; the rest (biases, norms) is never quantized."""
        return tuple(name for name, value in self.weights(0).items() if value.ndim == 2)

    def parameter_names(self) -> tuple[str, ...]:
        """Full names, in the model's state dict, of all the experts' parameters."""
        if self.switch:
            return tuple(f"{self.path}.{name}" for name, _ in self.module.named_parameters())
        return tuple(f"{self.path}.{name}" for name, _ in self._fused())

    def run_expert(self, weights: ExpertWeights, hidden: Tensor) -> Tensor:
        """One expert's output for its tokens [n, H], unweighted; the same operations as transformers' eager code."""
        if self.switch:
            expert = self.module["expert_0"]  # type: ignore[index]
            output: Tensor = torch.func.functional_call(expert, weights, (hidden,))
            return output
        module: Any = self.module
        first = "gate_up_proj" if module.has_gate else "up_proj"
        inner = self._linear(hidden, weights, first)
        inner = module._apply_gate(inner) if module.has_gate else module.act_fn(inner)
        output = self._linear(inner, weights, "down_proj")
        return module.post_expert_norm(output) if module.has_post_expert_norm else output

    def inner_activations(self, weights: ExpertWeights, hidden: Tensor) -> Tensor:
        """What the expert's second matrix is applied to, [n, I]."""
        if self.switch:
            expert: Any = self.module["expert_0"]  # type: ignore[index]
            activated: Tensor = expert.act(F.linear(hidden, weights["wi.weight"]))
            return activated
        module: Any = self.module
        inner = self._linear(hidden, weights, "gate_up_proj" if module.has_gate else "up_proj")
        return cast(Tensor, module._apply_gate(inner) if module.has_gate else module.act_fn(inner))

    def _linear(self, hidden: Tensor, weights: ExpertWeights, name: str) -> Tensor:
        matrix, bias = weights[name], weights.get(f"{name}_bias")
        if not self.transposed:
            return F.linear(hidden, matrix, bias)
        product = hidden @ matrix
        return product if bias is None else product + bias

    def _fused(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self.module.named_parameters(recurse=False):
            if value.shape[0] == self.experts:
                yield name, value


def find_sites(model: PreTrainedModel) -> tuple[Site, ...]:
    """Every layer of routed experts, by layer. Raises Unimplemented, naming the class, where there are none."""
    encoder_blocks = int(getattr(model.config, "num_layers", 0)) if model.config.is_encoder_decoder else 0
    sites = []
    for path, module in model.named_modules():
        if isinstance(module, SwitchTransformersExperts):
            experts, top_k = int(module.num_experts), 1
        elif hasattr(module, "_is_expert_parallel") and hasattr(module, "num_experts"):
            experts, top_k = int(module.num_experts), _top_k(model, path)
        else:
            continue
        layer = _layer(path) + (encoder_blocks if ".decoder." in f".{path}" and encoder_blocks else 0)
        parent = path.rpartition(".")[0]
        router = next(
            (f"{parent}.{name}" for name in ("gate", "router") if hasattr(model.get_submodule(parent), name)), ""
        )
        sites.append(Site(layer, path, router, module, experts, top_k))
    if len({site.layer for site in sites}) != len(sites):
        raise Unimplemented(
            f"{type(model).__name__} has several sets of routed experts in a layer; this service tells layers apart by "
            "their number alone",
            reason="AMBIGUOUS_LAYERS",
        )
    if not sites:
        raise Unimplemented(
            f"{type(model).__name__} has no routed experts that can be observed: it is dense, or keeps its experts "
            "in a way this service has no adapter for; use a mixture of experts that transformers can give another "
            "experts implementation, or Switch Transformers",
            reason="NO_ROUTED_EXPERTS",
        )
    return tuple(sorted(sites, key=lambda site: site.layer))


@contextmanager
def replaced_experts(
    model: PreTrainedModel, sites: tuple[Site, ...], make: Callable[[Site], RunExperts]
) -> Iterator[None]:
    """Runs each site's experts through `make(site)` inside the block; restores the model's own way after it."""
    ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, _run_handler)
    before = getattr(model.config, "_experts_implementation", None)
    try:
        for site in sites:
            run = make(site)
            if site.switch:
                site.module.forward = _as_switch_forward(site, run)
            else:
                setattr(site.module, _HANDLER, run)
        if not all(site.switch for site in sites):
            model.set_experts_implementation(IMPLEMENTATION)
        yield
    finally:
        if not all(site.switch for site in sites):
            model.set_experts_implementation(before or "eager")
        for site in sites:
            for name in ("forward", _HANDLER):
                site.module.__dict__.pop(name, None)


def eager(site: Site) -> RunExperts:
    """The experts' own forward, as transformers wrote it."""
    module = site.module
    if not site.switch:
        original = type(module).forward.__wrapped__  # type: ignore[attr-defined]
        return lambda hidden, index, weight: original(module, hidden, index, weight)

    def run(hidden: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        # A dropped token has index E: one column more, cut off again, leaves its row of the mask empty.
        mask = F.one_hot(index, site.experts + 1)[..., : site.experts]
        output: Tensor = type(module).forward(module, hidden, mask, weight)
        return output

    return run


def _run_handler(module: nn.Module, *arguments: Tensor, **named: Tensor) -> Tensor:
    # Families name the arguments differently and agree on their order.
    run: RunExperts = getattr(module, _HANDLER)
    return run(*arguments, *named.values())


def _as_switch_forward(site: Site, run: RunExperts) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def forward(hidden: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        index = torch.where(mask.any(dim=-1), mask.argmax(dim=-1), site.experts)  # [N, 1], E where dropped
        return run(hidden, index, weight)

    return forward


def _layer(path: str) -> int:
    numbers = re.findall(r"\.(\d+)\.", f".{path}.")
    # In encoder-decoders the block comes first and the position inside it second.
    return int(numbers[0]) if numbers else 0


def _top_k(model: PreTrainedModel, path: str) -> int:
    config = model.config.get_text_config()
    for name in ("num_experts_per_tok", "top_k", "moe_topk", "num_experts_per_token", "top_k_experts"):
        if isinstance(value := getattr(config, name, None), int):
            return value
    raise Unimplemented(f"{type(model).__name__} does not say to how many experts {path} sends a token")
