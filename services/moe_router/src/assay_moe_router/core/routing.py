"""Watching where a model's routers send tokens, without changing a bit of what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.errors import FailedPrecondition
from assay_moe_router.core.load_imbalance import load_imbalance
from assay_moe_router.core.sites import RunExperts, Site, eager, find_sites, replaced_experts
from assay_moe_router.core.statistics import LayerRouting, RoutingStatistics


class Forward:
    """What is known of the forward pass under way: which tokens are padding.

    mask: [B, T] bool, True for real tokens; a decoder has a mask of its own.
    """

    def __init__(self) -> None:
        self.encoder: Tensor | None = None
        self.decoder: Tensor | None = None

    def mask(self, site: Site, tokens: int) -> Tensor:
        """[B, T] for the tokens of this pass (a cached prefix is not among them)."""
        known = self.decoder if ".decoder." in f".{site.path}" and self.decoder is not None else self.encoder
        if known is None:
            return torch.ones(1, tokens, dtype=torch.bool)
        rows = known.shape[0]
        return known[:, known.shape[1] - tokens // rows :]


@contextmanager
def watched_forward(model: PreTrainedModel, on_end: Callable[[], None]) -> Iterator[Forward]:
    """Keeps `Forward` up to date during the model's passes and calls `on_end` after each."""
    state = Forward()

    def begin(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = arguments[0] if arguments else named.get("input_ids", named.get("inputs_embeds"))
        state.encoder = _as_mask(named.get("attention_mask"), ids)
        targets = named.get("decoder_input_ids", named.get("labels"))
        state.decoder = _as_mask(named.get("decoder_attention_mask"), targets)

    with ExitStack() as hooks:
        hooks.callback(model.register_forward_pre_hook(begin, with_kwargs=True).remove)
        hooks.callback(model.register_forward_hook(lambda *_: on_end()).remove)
        yield state


def _as_mask(mask: Tensor | None, like: Tensor | None) -> Tensor | None:
    if mask is not None and mask.ndim == 2:
        return mask.bool()
    return None if like is None else torch.ones(like.shape[:2], dtype=torch.bool, device=like.device)


class RoutingObserver:
    """Counts, one call of `statistics()` after the other forward passes. See `observe`."""

    def __init__(self, sites: tuple[Site, ...]) -> None:
        self._sites = sites
        self._parts: dict[int, list[LayerRouting]] = {site.layer: [] for site in sites}
        self._loads = {site.layer: np.zeros(site.experts) for site in sites}
        self._calls = {site.layer: 0 for site in sites}
        self._routed: dict[int, Tensor] = {}

    def count(self, site: Site, index: Tensor, weight: Tensor, mask: Tensor) -> None:
        """index: [N, k] expert ids; ids outside 0..m-1 (expert parallelism, Switch's drops) are nobody's load."""
        self._calls[site.layer] += 1
        rows, length = mask.shape
        real = mask.reshape(-1)
        processed = index.reshape(rows * length, -1).cpu()
        choice = self._routed.pop(site.layer, processed)
        valid = (choice >= 0) & (choice < site.experts) & real[:, None].cpu()
        foreign = ((choice < 0) | (choice >= site.experts)) & real[:, None].cpu()
        dropped = valid & ((processed < 0) | (processed >= site.experts))
        choices = torch.where(valid, choice, -1).to(torch.int32).view(rows, length, -1)
        weights = weight.detach().double().cpu().reshape(choice.shape)
        if not torch.isfinite(weights).all():
            raise FailedPrecondition(
                f"the router of layer {site.layer} gives weights that are not finite; check the model for NaN",
                reason="MODEL_NOT_FINITE",
            )
        sums = torch.zeros(site.experts, dtype=torch.float64)
        sums.index_add_(0, choice[valid].long(), weights[valid])
        part = LayerRouting.from_choices(
            site.layer,
            site.experts,
            choices.numpy(),
            weight_sums=sums.numpy(),
            masked_tokens=int((~real).sum()),
            foreign_choices=int(foreign.sum()),
            dropped=np.bincount(choice[dropped].long().numpy(), minlength=site.experts).astype(np.int64),
        )
        self._parts[site.layer].append(part)
        self._loads[site.layer] += part.loads

    def note_router(self, site: Site, output: Any) -> None:
        """Switch's router hands over what is left after the capacity cut; its logits tell the choice before it.

        It chooses by probabilities in the model's own type, where close ones tie that logits tell apart.
        """
        _, chosen, logits = output
        probabilities = logits.detach().softmax(dim=-1).to(chosen.dtype)
        self._routed[site.layer] = probabilities.argmax(dim=-1).reshape(-1, 1).cpu()

    def check_calls(self) -> None:
        """After a forward pass: each layer's experts must have run once, or the counts mean nothing."""
        wrong = {layer: calls for layer, calls in self._calls.items() if calls != 1}
        self._calls = dict.fromkeys(self._calls, 0)
        if wrong:
            layer, calls = next(iter(wrong.items()))
            raise FailedPrecondition(
                f"layer {layer}'s experts ran {calls} times through the hook in one forward pass, not once; this model "
                "bypasses it, so its routing cannot be counted",
                reason="HOOK_BYPASSED",
            )

    def worst_imbalance(self) -> float:
        """The highest Load-Imbalance Score of all layers so far; 0 before any token was routed."""
        loads = [load for load in self._loads.values() if load.any()]
        return max((load_imbalance(load, load.size) for load in loads), default=0.0)

    def statistics(self) -> RoutingStatistics:
        """What was counted so far."""
        return RoutingStatistics(
            tuple(LayerRouting.concatenate(parts) for _, parts in sorted(self._parts.items()) if parts)
        )


@contextmanager
def observe(model: PreTrainedModel, run: Callable[[Site], RunExperts] = eager) -> Iterator[RoutingObserver]:
    """Counts routing inside the block. Outputs stay bit-equal to transformers' eager experts.

    run: how experts compute, their own eager code by default.
    """
    sites = find_sites(model)
    observer = RoutingObserver(sites)
    with ExitStack() as stack:
        forward = stack.enter_context(watched_forward(model, observer.check_calls))

        def counting(site: Site) -> RunExperts:
            inner = run(site)

            def counted(hidden: Tensor, index: Tensor, weight: Tensor) -> Tensor:
                observer.count(site, index, weight, forward.mask(site, hidden.shape[0]))
                return inner(hidden, index, weight)

            return counted

        stack.enter_context(replaced_experts(model, sites, counting))
        for site in sites:
            if site.switch:
                router = model.get_submodule(site.router_path)
                hook = router.register_forward_hook(
                    lambda _m, _a, output, site=site: observer.note_router(site, output)
                )
                stack.callback(hook.remove)
        yield observer
