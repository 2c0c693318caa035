"""Everything that is measured on one model, in a process of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from bench.moe_parts.balance import BalanceRow, CapacityRow, ClozeRow, measure_balance, measure_capacity
from bench.moe_parts.batch_size import BatchRow, measure_batch_size
from bench.moe_parts.calibration_size import (
    PlanSizeRow,
    StabilityRow,
    measure_plan_size,
    measure_stability,
)
from bench.moe_parts.drift import DriftRow, measure_drift
from bench.moe_parts.importance import AgreementRow, DamageRow, measure_agreement, measure_damage
from bench.moe_parts.subject import open_subject, trained


@dataclass(frozen=True)
class ModelRun:
    recipe: str
    seed: int
    digest: str
    balance: list[BalanceRow]
    cloze: ClozeRow
    capacity: list[CapacityRow]
    batch_size: list[BatchRow]
    agreement: list[AgreementRow]
    damage: DamageRow
    stability: list[StabilityRow]
    plan_size: list[PlanSizeRow]
    drift: list[DriftRow]
    seconds: dict[str, float]


def train_model(recipe: str, seed: int, text: str) -> str:
    torch.set_num_threads(1)
    return trained(recipe, seed, text)


def run_model(recipe: str, seed: int, text: str) -> ModelRun:
    torch.set_num_threads(1)
    seconds: dict[str, float] = {}
    begun = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal begun
        now = time.perf_counter()
        seconds[name], begun = now - begun, now

    subject = open_subject(recipe, seed, text)
    lap("calibrate")
    balance, cloze = measure_balance(subject)
    capacity = measure_capacity(subject)
    lap("balance")
    batch_size = measure_batch_size(subject)
    lap("batch size")
    agreement, damage = measure_agreement(subject), measure_damage(subject)
    lap("importance")
    stability, plan_size = measure_stability(subject), measure_plan_size(subject)
    lap("calibration size")
    drift = measure_drift(subject)
    lap("drift")
    return ModelRun(
        recipe,
        seed,
        subject.digest,
        balance,
        cloze,
        capacity,
        batch_size,
        agreement,
        damage,
        stability,
        plan_size,
        drift,
        seconds,
    )
