"""Answers that leave the model early: what is asked for, checked, and what a turn of it gives the batching loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from torch import Tensor
from transformers import Cache

from assay.engine.step import StepContext
from assay.errors import FailedPrecondition, InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay_inference_optimizer import kinds
from assay_inference_optimizer.core.early_exit.calibrate import Thresholds
from assay_inference_optimizer.core.early_exit.risk_controlled import generate as leave_early
from assay_inference_optimizer.core.early_exit.speculative import speculate
from assay_inference_optimizer.core.generation.request import Drafted
from assay_inference_optimizer.core.generation.sampling import Sampling
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.generation.sparse_bytes import ROLLBACK_TOKENS
from assay_inference_optimizer.core.sparse.config import SparseConfig

DRAFT_TOKENS = 8


@dataclass(frozen=True)
class EarlyExit:
    """sparse: how the answer attends, None densely. rollback_tokens: of its cache, None for what a cache keeps of its
    own accord. start: given a prompt, [1, T] int64, and such a cache."""

    sparse: SparseConfig | None
    rollback_tokens: int | None
    start: Callable[[Tensor, Cache], Iterator[Drafted]]


def early_exit_of(
    served: ServedModel,
    early_exit: api.EarlyExitConfig,
    sparse: SparseConfig | None,
    sampling: Sampling,
    context: StepContext,
) -> EarlyExit | None:
    """How the request leaves the model early; None where it takes every layer. Raises what is wrong with the asking.

    sparse: what the request asks for, None where it does not: it then attends as its calibration was made under.
    """
    mode = early_exit.mode
    if mode in (api.EARLY_EXIT_MODE_UNSPECIFIED, api.EARLY_EXIT_MODE_NONE):
        return None
    if mode not in api.EarlyExitMode.values():
        raise InvalidInput("early_exit.mode", f"{mode} is unknown; upgrade the service, or choose another")
    if sampling.temperature:
        raise InvalidInput("sampling.temperature", "must be 0 with early_exit, which decodes greedily")
    if sampling.alternatives:
        raise InvalidInput("sampling.alternatives", "are not given with early_exit; leave them out")
    ends = () if sampling.ignore_end else served.ends
    if mode == api.EARLY_EXIT_MODE_RISK_CONTROLLED:
        thresholds = _thresholds(served, early_exit, context)
        if sparse is not None:
            thresholds.check_sparse(sparse)
        return EarlyExit(
            thresholds.sparse,
            None,
            lambda ids, cache: _leaving(served, thresholds, ids, cache, sampling, ends, context),
        )
    layer = _draft_layer(served, early_exit)
    draft_tokens = early_exit.draft_tokens or DRAFT_TOKENS
    # What is verified may be taken back, as far as the beginning of the answer.
    rollback = None if sparse is None else max(ROLLBACK_TOKENS, sparse.block_size, sampling.max_new_tokens)
    return EarlyExit(
        sparse,
        rollback,
        lambda ids, cache: _speculating(served, layer, draft_tokens, ids, cache, sampling, ends, context),
    )


def _draft_layer(served: ServedModel, early_exit: api.EarlyExitConfig) -> int:
    layers = tuple(early_exit.exit_layers)
    if len(layers) != 1:
        raise InvalidInput("early_exit.exit_layers", f"are {len(layers)}; give the one layer to draft with")
    if not 1 <= layers[0] < served.layers:
        raise InvalidInput(
            "early_exit.exit_layers[0]", f"is {layers[0]}; this model's exits are 1 to {served.layers - 1}"
        )
    if early_exit.draft_tokens < 0:
        raise InvalidInput(
            "early_exit.draft_tokens", f"is {early_exit.draft_tokens}; give 0 for {DRAFT_TOKENS}, or more"
        )
    return layers[0]


def _thresholds(served: ServedModel, early_exit: api.EarlyExitConfig, context: StepContext) -> Thresholds:
    if not early_exit.calibration:
        raise FailedPrecondition(
            "early_exit.calibration: is empty; leaving early needs thresholds, which CalibrateEarlyExit gives",
            reason="NOT_CALIBRATED",
        )
    found = context.artifacts.get(early_exit.calibration)
    if found.manifest.kind != kinds.THRESHOLDS:
        raise InvalidInput(
            "early_exit.calibration",
            f"is an artifact of kind {found.manifest.kind}; give one of kind {kinds.THRESHOLDS}",
        )
    thresholds = Thresholds.from_json(context.artifacts.read(found.digest, "thresholds.json"))
    thresholds.check_model(served.digest)
    return thresholds


def _speculating(
    served: ServedModel,
    layer: int,
    draft_tokens: int,
    ids: Tensor,
    cache: Cache,
    sampling: Sampling,
    ends: Collection[int],
    context: StepContext,
) -> Iterator[Drafted]:
    rounds = speculate(
        served.model,
        ids,
        layer,
        sampling.max_new_tokens,
        draft_tokens=draft_tokens,
        eos=ends,
        cancel=context.cancel,
        cache=cache,
    )
    for settled in rounds:
        # What the lower layers proposed and all layers confirmed was known at the exit already.
        by = [layer] * settled.accepted + [served.layers] * (len(settled.tokens) - settled.accepted)
        yield Drafted(settled.tokens, settled.log_probabilities, by, settled.drafted, settled.accepted)


def _leaving(
    served: ServedModel,
    thresholds: Thresholds,
    ids: Tensor,
    cache: Cache,
    sampling: Sampling,
    ends: Collection[int],
    context: StepContext,
) -> Iterator[Drafted]:
    tokens = leave_early(
        served.model, ids, thresholds, sampling.max_new_tokens, eos=ends, cancel=context.cancel, cache=cache
    )
    for said in tokens:
        # None: a piece of the prompt was read.
        yield Drafted([said.token], [said.log_probability], [said.exit_layer]) if said else Drafted((), (), ())
