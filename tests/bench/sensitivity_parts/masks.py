"""One model under theory-of-mind masks and under controls of as many weights, over shares and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assay_tom_verifier.core.sensitivity.answers import Asked
from assay_tom_verifier.core.sensitivity.controls import general_mask, magnitude_mask, random_mask
from assay_tom_verifier.core.sensitivity.evaluate import Measured, Standing, change, measure, nats_change, standing
from assay_tom_verifier.core.sensitivity.parameter_mask import LEAST_MASKED, ParameterMask
from assay_tom_verifier.core.sensitivity.scan import Scan, scan
from assay_tom_verifier.core.sensitivity.tasks.item import Item, Task
from assay_tom_verifier.core.sensitivity.tasks.suite import suite
from assay_tom_verifier.core.verifier.bootstrap import Interval
from bench.sensitivity_parts.trained import CANCEL, Subject

FALSE_BELIEF: tuple[Task, ...] = ("unexpected-contents", "unexpected-transfer")
KINDS = ("tom", "random", "magnitude", "general")
RIVALS = KINDS[1:]


@dataclass(frozen=True)
class SeedRun:
    """All of one seed: names in the suite, texts that gradients are of, random masks.

    masks, after: by (share, kind); shares whose mask is too small are left out.
    """

    items: list[Item]
    asked: Asked
    before: Measured
    scan: Scan
    masks: dict[tuple[float, str], ParameterMask]
    after: dict[tuple[float, str], Measured]


@dataclass(frozen=True)
class Run:
    """One model, all seeds. shares: those that were measured, of those asked for."""

    subject: Subject
    shares: tuple[float, ...]
    seeds: tuple[SeedRun, ...]

    @property
    def standings(self) -> list[Standing]:
        return [standing(each.items, each.before.answers) for each in self.seeds]

    def drop(self, share: float, kind: str, tasks: Sequence[Task], against: str | None = None) -> Interval:
        """Cells passed under `kind`, less those passed before, or under another mask of the same share and seed."""
        pairs = [
            (each.before if against is None else each.after[share, against], each.after[share, kind])
            for each in self.seeds
        ]
        # One suite's cells are another's but for the names.
        return change(
            self.seeds[0].items, [first.answers for first, _ in pairs], [last.answers for _, last in pairs], tasks
        )

    def nats(self, share: float, kind: str, against: str | None = None) -> Interval:
        return nats_change(
            [each.before if against is None else each.after[share, against] for each in self.seeds],
            [each.after[share, kind] for each in self.seeds],
        )

    def masked(self, share: float) -> tuple[int, int]:
        """Least and most over seeds."""
        counts = [each.masks[share, "tom"].masked for each in self.seeds]
        return min(counts), max(counts)


def run_masks(subject: Subject, shares: Sequence[float], seeds: Sequence[int], kinds: Sequence[str]) -> Run:
    runs = [_run_seed(subject, shares, seed, kinds) for seed in seeds]
    measured = [share for share in shares if all((share, "tom") in each.after for each in runs)]
    return Run(subject, tuple(measured), tuple(runs))


def _run_seed(subject: Subject, shares: Sequence[float], seed: int, kinds: Sequence[str]) -> SeedRun:
    items = suite(seed)
    asked = Asked(items, subject.tokenizer)
    before = measure(subject.model, asked, subject.test, cancel=CANCEL)
    scanned = scan(subject.model, subject.tokenizer, subject.scanned, seed=seed, cancel=CANCEL)
    masks: dict[tuple[float, str], ParameterMask] = {}
    for share in shares:
        tom = scanned.mask(share)
        if tom.masked < LEAST_MASKED:
            continue
        of_kind: Mapping[str, ParameterMask] = {
            "tom": tom,
            "random": random_mask(tom, seed),
            "magnitude": magnitude_mask(tom, subject.model),
            "general": general_mask(tom, scanned.general),
        }
        masks.update({(share, kind): of_kind[kind] for kind in kinds})
    after = {key: measure(subject.model, asked, subject.test, mask=mask, cancel=CANCEL) for key, mask in masks.items()}
    return SeedRun(items, asked, before, scanned, masks, after)
