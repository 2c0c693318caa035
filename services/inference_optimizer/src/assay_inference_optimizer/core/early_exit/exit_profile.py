"""What was counted of a model's answers layer by layer: plain sums that shards add up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from assay.errors import DataLoss, InvalidInput
from assay_inference_optimizer.core.early_exit.rules import Rule, thresholds

ARRAYS = "exit_profile.safetensors"
SUMMARY = "exit_profile.json"

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassSums:
    """Sums over the tokens of each class, C classes; a token belongs to the class of what the model says.

    tokens: [C]. agree: [C, L], tokens whose answer after layer l is the final one. saturation: [C, L], tokens whose
    answer is final from layer l on and not before. next_cosine: [C, L], cos(h_(l-1), h_l). final_cosine: [C, L],
    cos(norm h_l, norm h_L). divergence: [C, L], KL(p_L || p_l) in nats. Column l - 1 is layer l.
    """

    tokens: Ints
    agree: Ints
    saturation: Ints
    next_cosine: Floats
    final_cosine: Floats
    divergence: Floats

    @classmethod
    def zeros(cls, classes: int, layers: int) -> ClassSums:
        def ints() -> Ints:
            return np.zeros((classes, layers), dtype=np.int64)

        def floats() -> Floats:
            return np.zeros((classes, layers))

        return cls(np.zeros(classes, dtype=np.int64), ints(), ints(), floats(), floats(), floats())

    def __add__(self, other: ClassSums) -> ClassSums:
        return ClassSums(*(getattr(self, name) + getattr(other, name) for name in CLASS_FIELDS))


CLASS_FIELDS = ("tokens", "agree", "saturation", "next_cosine", "final_cosine", "divergence")


@dataclass(frozen=True)
class RuleSums:
    """One rule, by prompt and threshold, each [P, G] int64.

    wrong: tokens whose answer at the exit is not the final one. depth: sum of exit layers, L where none. heads: sum
    of heads computed on the way, the answer's own included.
    """

    wrong: Ints
    depth: Ints
    heads: Ints


@dataclass(frozen=True)
class ExitProfile:
    """One model on one text.

    depth: L. exit_layers: where rules may exit. head_layers: cost of one head in layers. tokens, saturation: [P] tokens
    of each prompt, and their sum of saturation layers.
    """

    depth: int
    exit_layers: tuple[int, ...]
    head_layers: float
    vocabulary: int
    class_names: tuple[str, ...]
    classes: ClassSums
    tokens: Ints
    saturation: Ints
    rules: Mapping[Rule, RuleSums]

    @property
    def prompts(self) -> int:
        return len(self.tokens)

    def thresholds(self, rule: Rule) -> Floats:
        """[G], from the most careful."""
        return thresholds(rule, len(self.exit_layers), self.vocabulary)

    def part(self, prompts: NDArray[np.int64]) -> ExitProfile:
        """These prompts alone; sums by class are of all."""
        rules = {
            rule: RuleSums(sums.wrong[prompts], sums.depth[prompts], sums.heads[prompts])
            for rule, sums in self.rules.items()
        }
        return ExitProfile(
            self.depth,
            self.exit_layers,
            self.head_layers,
            self.vocabulary,
            self.class_names,
            self.classes,
            self.tokens[prompts],
            self.saturation[prompts],
            rules,
        )

    @classmethod
    def merge(cls, parts: Sequence[ExitProfile]) -> ExitProfile:
        """Shards of one profile, in order; the result is that of one pass, up to rounding of the three float sums."""
        if not parts:
            raise InvalidInput("shards", "are none; give at least one")
        first = parts[0]
        if len({_shape(part) for part in parts}) != 1:
            raise InvalidInput("shards", "differ in layers, exits, vocabulary or classes; they are of different models")
        classes = first.classes
        for part in parts[1:]:
            classes = classes + part.classes
        rules = {
            rule: RuleSums(
                *(np.concatenate([getattr(part.rules[rule], name) for part in parts]) for name in RULE_FIELDS)
            )
            for rule in first.rules
        }
        return cls(
            first.depth,
            first.exit_layers,
            first.head_layers,
            first.vocabulary,
            first.class_names,
            classes,
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.saturation for part in parts]),
            rules,
        )

    def to_files(self) -> dict[str, bytes]:
        """Files of an artifact."""
        arrays: dict[str, NDArray[np.generic]] = {"tokens": self.tokens, "saturation": self.saturation}
        arrays |= {f"classes.{name}": getattr(self.classes, name) for name in CLASS_FIELDS}
        for rule, sums in self.rules.items():
            arrays |= {f"{rule.value}.{name}": getattr(sums, name) for name in RULE_FIELDS}
        summary = {
            "schema_version": 1,
            "depth": self.depth,
            "exit_layers": list(self.exit_layers),
            "head_layers": self.head_layers,
            "vocabulary": self.vocabulary,
            "class_names": list(self.class_names),
            "rules": [rule.value for rule in self.rules],
        }
        contiguous = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        return {ARRAYS: save(contiguous), SUMMARY: json.dumps(summary, indent=1, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> ExitProfile:
        """What `to_files` wrote; DataLoss where it is damaged."""
        try:
            arrays, summary = load(files[ARRAYS]), json.loads(files[SUMMARY])
            profile = cls(
                int(summary["depth"]),
                tuple(int(layer) for layer in summary["exit_layers"]),
                float(summary["head_layers"]),
                int(summary["vocabulary"]),
                tuple(str(name) for name in summary["class_names"]),
                ClassSums(*(arrays[f"classes.{name}"] for name in CLASS_FIELDS)),
                arrays["tokens"],
                arrays["saturation"],
                {
                    Rule(name): RuleSums(*(arrays[f"{name}.{field}"] for field in RULE_FIELDS))
                    for name in summary["rules"]
                },
            )
            profile.check()
        except (KeyError, ValueError, TypeError, SafetensorError) as error:
            raise DataLoss("the exit profile cannot be read; profile again") from error
        return profile

    def check(self) -> None:
        """ValueError where arrays do not fit each other."""
        layers = (len(self.class_names), self.depth)
        fits = all(getattr(self.classes, name).shape == layers for name in CLASS_FIELDS[1:])
        fits &= self.classes.tokens.shape == layers[:1] and self.saturation.shape == self.tokens.shape
        for rule, sums in self.rules.items():
            shape = (self.prompts, len(self.thresholds(rule)))
            fits &= all(getattr(sums, name).shape == shape for name in RULE_FIELDS)
        if not fits:
            raise ValueError("shapes differ")


RULE_FIELDS = ("wrong", "depth", "heads")


def _shape(profile: ExitProfile) -> tuple[object, ...]:
    return (
        profile.depth, profile.exit_layers, profile.head_layers, profile.vocabulary, profile.class_names,
        tuple(profile.rules),
    )  # fmt: skip
