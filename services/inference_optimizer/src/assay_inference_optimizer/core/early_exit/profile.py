"""Profiling: one pass over text, all layers looked at, nothing kept but sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.progress import Progress, silent
from assay_inference_optimizer.core.early_exit.cost import layer_cost
from assay_inference_optimizer.core.early_exit.decoded_residuals import decoded_residuals
from assay_inference_optimizer.core.early_exit.exit_profile import ClassSums, ExitProfile, Ints, RuleSums
from assay_inference_optimizer.core.early_exit.logit_lens import residuals
from assay_inference_optimizer.core.early_exit.parts import Parts, parts_of
from assay_inference_optimizer.core.early_exit.rules import Rule, measures, patience, state_cosine, thresholds
from assay_inference_optimizer.core.early_exit.token_classes import TokenClasses, one_class
from assay_inference_optimizer.core.finite import finite
from assay_inference_optimizer.core.sparse.config import SparseConfig

# Logits looked at together: 64 MiB of float32, whatever the vocabulary.
_LOGITS_AT_ONCE = 2**24


@torch.no_grad()
def profile(
    model: PreTrainedModel,
    batches: Iterable[Tensor],
    *,
    classes: TokenClasses | None = None,
    exit_layers: Sequence[int] | None = None,
    skip: int = 0,
    sparse: SparseConfig | None = None,
    cancel: CancelToken,
    progress: Progress = silent,
) -> ExitProfile:
    """Counts, for every token the model would say, from which layer on it says it, and what each exit rule does.

    batches: [B, T] int64 token ids without padding; a row is one prompt, by which later bounds draw. Contexts are
    the text's own (teacher forcing): what is said at a position does not change the next. skip: first positions of
    each row that are context only. exit_layers: where rules may exit, None for all of 1..L-1. sparse: how to attend,
    None for densely; the positions skipped are then read as a prompt and the others decoded, as in an answer.

    Memory is that of one batch (its L + 1 residuals and 64 MiB of logits), besides two numbers a prompt, rule and
    threshold. Shards of the text give profiles that `ExitProfile.merge` adds up. Raises InvalidInput, and what
    `residuals` raises; Cancelled or DeadlineExceeded, checked for every layer of every batch.
    """
    parts = parts_of(model)
    exits = tuple(sorted(set(range(1, parts.depth) if exit_layers is None else exit_layers)))
    for index, layer in enumerate(exits):
        parts.check_exit(layer, f"exit_layers[{index}]")
    if not exits:
        raise InvalidInput("exit_layers", "are none; give some, or a model of at least two layers")
    classes = one_class(parts.vocabulary) if classes is None else classes
    if len(classes.of) != parts.vocabulary:
        raise InvalidInput("classes", f"are of {len(classes.of)} tokens, the model of {parts.vocabulary}")
    collector = _Collector(parts, exits, classes)
    done = 0
    for batch in batches:
        cancel.check()
        if batch.ndim != 2 or batch.shape[1] <= skip or skip < 0:
            raise InvalidInput("batches", f"have one of shape {tuple(batch.shape)}; give [B, T] with T above {skip}")
        if int(batch.min()) < 0 or int(batch.max()) >= parts.vocabulary:
            raise InvalidInput("batches", f"have ids outside 0..{parts.vocabulary - 1}; use the model's own tokenizer")
        ids = batch.to(model.device)
        every = residuals(model, ids) if sparse is None else decoded_residuals(model, ids, sparse, max(1, skip), cancel)
        collector.add([hidden[:, skip:] for hidden in every], cancel)
        done += len(batch)
        progress(done, 0, "prompts")
    return collector.result(layer_cost(model).head_layers)


@dataclass(frozen=True)
class TokenTrace:
    """n tokens, layer by layer. answers: [L, n]; measures: rule to [E, n], at the exit layers."""

    answers: Tensor
    measures: dict[Rule, Tensor]

    def exits(self, rule: Rule, threshold: float, exit_layers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(exit layer of each token, L where the rule never exits; its answer there), both [n]."""
        depth = len(self.answers)
        passed = rule.exits(self.measures[rule], threshold)
        first = passed.int().argmax(dim=0)
        layers = torch.tensor(exit_layers, device=first.device)[first]
        layers = torch.where(passed.any(dim=0), layers, depth)
        return layers, self.answers.gather(0, layers[None] - 1)[0]


class _Collector:
    def __init__(self, parts: Parts, exits: tuple[int, ...], classes: TokenClasses) -> None:
        self._parts, self._exits, self._classes = parts, exits, classes
        self._rules = tuple(rule for rule in Rule if len(thresholds(rule, len(exits), parts.vocabulary)))
        self._sums = ClassSums.zeros(len(classes.names), parts.depth)
        self._tokens: list[Ints] = []
        self._saturation: list[Ints] = []
        self._found: dict[Rule, list[RuleSums]] = {rule: [] for rule in self._rules}

    def add(self, hidden: list[Tensor], cancel: CancelToken) -> None:
        """hidden: L + 1 of [B, T, h]."""
        rows, length = hidden[0].shape[:2]
        flat = [layer.flatten(0, 1) for layer in hidden]
        prompts = torch.arange(rows * length) // length
        saturation = np.zeros(rows, dtype=np.int64)
        found = {
            rule: RuleSums(*(np.zeros((rows, len(self._grid(rule))), dtype=np.int64) for _ in range(3)))
            for rule in self._rules
        }
        size = max(1, _LOGITS_AT_ONCE // self._parts.vocabulary)
        for start in range(0, rows * length, size):
            part = slice(start, start + size)
            trace, first = self._look([layer[part] for layer in flat], cancel)
            owner = prompts[part].numpy()
            np.add.at(saturation, owner, first)
            for rule, sums in found.items():
                self._decide(rule, trace, owner, sums)
        self._tokens.append(np.full(rows, length, dtype=np.int64))
        self._saturation.append(saturation)
        for rule, sums in found.items():
            self._found[rule].append(sums)

    def result(self, head_layers: float) -> ExitProfile:
        if not self._tokens:
            raise InvalidInput("batches", "are none; give at least one")
        rules = {
            rule: RuleSums(
                *(np.concatenate([getattr(one, name) for one in found]) for name in ("wrong", "depth", "heads"))
            )
            for rule, found in self._found.items()
        }
        return ExitProfile(
            self._parts.depth, self._exits, head_layers, self._parts.vocabulary, self._classes.names, self._sums,
            np.concatenate(self._tokens), np.concatenate(self._saturation), rules,
        )  # fmt: skip

    def _grid(self, rule: Rule) -> np.ndarray:
        return thresholds(rule, len(self._exits), self._parts.vocabulary)

    def _look(self, hidden: list[Tensor], cancel: CancelToken) -> tuple[TokenTrace, Ints]:
        """The trace of n tokens and the layer each is saturated at, [n]; adds to the sums by class."""
        trace, divergence = self._trace(hidden, cancel)
        normed_final = self._parts.norm(hidden[-1])
        answers = trace.answers
        final = answers[-1]
        agree = answers == final
        # Saturated at the layer after the last one that disagrees.
        last_wrong = (~agree * torch.arange(1, len(answers) + 1, device=agree.device)[:, None]).amax(dim=0)
        first = (last_wrong + 1).cpu().numpy()
        owner = self._classes.of[final.cpu().numpy()].astype(np.int64)
        sums = self._sums
        np.add.at(sums.tokens, owner, 1)
        np.add.at(sums.saturation, (owner, first - 1), 1)
        for layer in range(len(answers)):
            np.add.at(sums.agree[:, layer], owner, agree[layer].cpu().numpy())
            cosine = state_cosine(hidden[layer + 1], hidden[layer]).double().cpu().numpy()
            np.add.at(sums.next_cosine[:, layer], owner, cosine)
            normed = self._parts.norm(hidden[layer + 1])
            np.add.at(sums.final_cosine[:, layer], owner, state_cosine(normed, normed_final).double().cpu().numpy())
            np.add.at(sums.divergence[:, layer], owner, divergence[layer].double().cpu().numpy())
        return trace, first

    def _trace(self, hidden: list[Tensor], cancel: CancelToken) -> tuple[TokenTrace, list[Tensor]]:
        """Also KL(p_L || p_l) of each layer, [n]."""
        logits = finite(self._parts.logits(hidden[-1]))
        log_final, final = torch.log_softmax(logits, dim=-1), logits.argmax(dim=-1)
        p_final = log_final.exp()
        answers, divergence = [], []
        found: dict[Rule, list[Tensor]] = {rule: [] for rule in self._rules if rule is not Rule.PATIENCE}
        for layer in range(1, self._parts.depth):
            cancel.check()
            logits = finite(self._parts.logits(hidden[layer]))
            answers.append(logits.argmax(dim=-1))
            log_p = torch.log_softmax(logits, dim=-1)
            divergence.append((p_final * (log_final - log_p)).sum(dim=-1))
            if layer in self._exits:
                for rule, measure in measures(log_p).items():
                    found[rule].append(measure)
                found[Rule.STATE_COSINE].append(state_cosine(hidden[layer], hidden[layer - 1]))
        answers.append(final)
        divergence.append(torch.zeros_like(divergence[0]))
        every = torch.stack(answers)
        stacked = {rule: torch.stack(each) for rule, each in found.items()}
        if Rule.PATIENCE in self._rules:
            stacked[Rule.PATIENCE] = patience(every[[layer - 1 for layer in self._exits]])
        return TokenTrace(every, stacked), divergence

    def _decide(self, rule: Rule, trace: TokenTrace, owner: Ints, sums: RuleSums) -> None:
        depth = self._parts.depth
        passed_exits = np.searchsorted(np.array(self._exits), np.arange(depth + 1), side="right")
        for index, threshold in enumerate(self._grid(rule).tolist()):
            layers, answers = trace.exits(rule, threshold, self._exits)
            at = layers.cpu().numpy()
            np.add.at(sums.wrong[:, index], owner, (answers != trace.answers[-1]).cpu().numpy())
            np.add.at(sums.depth[:, index], owner, at)
            # Those that run through pay the final head on top of all probes.
            heads = passed_exits[at] + (at == depth) if rule.probes else np.ones_like(at)
            np.add.at(sums.heads[:, index], owner, heads)
