"""The long methods: which steps each takes, in what order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from assay.checkup.v1 import checkup_pb2
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import steps_pb2 as own
from assay.operations.job import Job, Run
from assay_inference_optimizer import steps
from assay_inference_optimizer.requests import check_skipped, loss_increase_of, risk_of

FULL_NAME = "assay.inference_optimizer.v1.InferenceOptimizerService"
# Sequences of 512 tokens or what the model reads; enough for a first answer in minutes on two cores.
PLAN_SEQUENCES, COMPARE_SEQUENCES, PROFILE_SEQUENCES, CALIBRATE_SEQUENCES = 16, 32, 64, 1000
# Windows that a step counts the exits of, and how many such steps there may be: more windows make them larger.
COUNTED_SEQUENCES, MOST_COUNTS = 16, 256
EXAMINED_SEQUENCES = {"plan": 16, "comparison": 16, "profile": 32}
EXAMINED_DENSITY = 0.2
MANY_BLOCKS = 32
EVERY_SELECTION = tuple(selection for selection in api.Selection.values() if selection)


async def plan_sparsity(run: Run, request: api.PlanSparsityRequest) -> api.PlanSparsityResult:
    """Round after round of settings, each measured in a step of its own; the search is made again from their losses."""
    found = await _resolve(run, request.model, request.text, "calibration", PLAN_SEQUENCES)
    windows = await run.step("cut", steps.CUT, own.CutStep(model=found.model, text=found.text), model_id=found.model)
    step = own.PlanStep(
        model=found.model,
        text=found.text,
        max_loss_increase_nats=loss_increase_of(request),
        sparse=request.sparse,
        length=request.length or found.context_tokens,
        sequences=windows.sequences,
    )
    for turn in count():
        wanted = await run.step(f"settings/{turn}", steps.NEXT_SETTINGS, step, model_id=found.model)
        if not wanted.settings:
            break
        step.losses.extend(await _measured(run, f"measure/{turn}", found.model, windows, wanted.settings))
    return await run.step("plan", steps.PLAN, step, model_id=found.model)


async def compare_selection(run: Run, request: api.CompareSelectionRequest) -> api.CompareSelectionResult:
    """A step for each way to choose blocks; what is resampled are sequences, once all are there."""
    found = await _resolve(run, request.model, request.text, "test", COMPARE_SEQUENCES)
    windows = await run.step("cut", steps.CUT, own.CutStep(model=found.model, text=found.text), model_id=found.model)
    # Dense attention is what the others are held against.
    selections = list(dict.fromkeys([api.SELECTION_DENSE, *(request.selections or EVERY_SELECTION)]))
    settings = []
    for selection in selections:
        setting = api.SparseConfig()
        setting.CopyFrom(request.sparse)
        setting.selection = selection
        settings.append(setting)
    losses = await _measured(run, "measure", found.model, windows, settings)
    step = own.CompareStep(
        model=found.model, text=found.text, selections=selections, sparse=request.sparse, losses=losses
    )
    return await run.step("compare", steps.COMPARE, step)


async def profile_early_exit(run: Run, request: api.ProfileEarlyExitRequest) -> api.ProfileEarlyExitResult:
    """A step for every few windows; what they counted adds up."""
    found = await _resolve(run, request.model, request.text, "test", PROFILE_SEQUENCES)
    counts = await _counted(run, found, own.CountExitsStep())
    return await run.step("profile", steps.PROFILE, own.ProfileStep(model=found.model, text=found.text, counts=counts))


async def calibrate_early_exit(run: Run, request: api.CalibrateEarlyExitRequest) -> api.CalibrateEarlyExitResult:
    """The same; thresholds are chosen once all is counted."""
    found = await _resolve(run, request.model, request.text, "calibration", CALIBRATE_SEQUENCES)
    epsilon, delta = risk_of(request)
    check_skipped(request.skip_tokens, found.text.sequence_tokens)
    step = own.CalibrateStep(model=found.model, text=found.text, epsilon=epsilon, delta=delta, rule=request.rule)
    each = own.CountExitsStep(exit_layers=request.exit_layers, skip_tokens=request.skip_tokens)
    if request.HasField("sparse"):
        for one in (step, each):
            one.sparse.CopyFrom(request.sparse)
    step.counts.extend(await _counted(run, found, each))
    return await run.step("calibrate", steps.CALIBRATE, step)


async def benchmark_attention(run: Run, request: api.BenchmarkAttentionRequest) -> api.BenchmarkAttentionResult:
    return await run.step("benchmark", steps.BENCHMARK, request)


async def inspect_selection(run: Run, request: api.InspectSelectionRequest) -> api.InspectSelectionResult:
    found = await _resolve(run, request.model, request.text, "test", 1)
    step = own.InspectStep(model=found.model, text=found.text, sparse=request.sparse)
    return await run.step("inspect", steps.INSPECT, step, model_id=found.model)


async def examine(run: Run, request: checkup_pb2.ExamineRequest) -> checkup_pb2.ExamineResult:
    """The section of a report card: speed plan, block map, density against loss, exit curves.

    A model without layers that can run sparse gets exit curves alone.
    """
    found = await run.step("resolve", steps.RESOLVE, own.ResolveStep(model=request.model))
    model, write = found.model, own.WriteSectionStep(model=found.model)

    def text(part: str) -> api.TextSelection:
        return api.TextSelection(text=request.text, sequences=EXAMINED_SEQUENCES.get(part, 0))

    if found.sparse_layers:
        sparse = _fitting(found)
        plan = api.PlanSparsityRequest(model=model, text=text("plan"), sparse=sparse)
        write.plan.CopyFrom(await plan_sparsity(run.scope("plan"), plan))
        comparison = api.CompareSelectionRequest(model=model, text=text("comparison"), sparse=sparse)
        write.comparison.CopyFrom(await compare_selection(run.scope("comparison"), comparison))
        selection = api.InspectSelectionRequest(model=model, text=text("selection"), sparse=sparse)
        write.selection.CopyFrom(await inspect_selection(run.scope("selection"), selection))
    profile = api.ProfileEarlyExitRequest(model=model, text=text("profile"))
    write.profile.CopyFrom(await profile_early_exit(run.scope("profile"), profile))
    return await run.step("section", steps.WRITE_SECTION, write)


def _fitting(found: own.Resolved) -> api.SparseConfig:
    """Settings that leave something to choose in what the model reads at once: some 32 blocks, if they can be had.

    Two dense layers are of little use in a model that has hardly more.
    """
    read, block = found.text.sequence_tokens, 16
    while block < 64 and read // (2 * block) >= MANY_BLOCKS:
        block *= 2
    return api.SparseConfig(
        block_size=block,
        sink_tokens=block,
        window_tokens=2 * block if read // block >= MANY_BLOCKS else block,
        target_density=EXAMINED_DENSITY,
        dense_layers=min(2, found.layers // 3),
    )


async def _resolve(run: Run, model: str, text: api.TextSelection, split: str, sequences: int) -> own.Resolved:
    asked = api.TextSelection()
    asked.CopyFrom(text)
    asked.split = text.split or split
    asked.sequences = text.sequences or sequences
    return await run.step("resolve", steps.RESOLVE, own.ResolveStep(model=model, text=asked))


async def _measured(
    run: Run, name: str, model: str, windows: own.Windows, settings: Sequence[api.SparseConfig]
) -> list[str]:
    """The losses under each setting, as artifacts."""
    wanted = [own.MeasureStep(model=model, windows=windows.artifact, sparse=setting) for setting in settings]
    return [one.artifact for one in await run.map(name, steps.MEASURE, wanted, model_id=model)]


async def _counted(run: Run, found: own.Resolved, each: own.CountExitsStep) -> list[str]:
    """What every few windows of the text counted, as artifacts. each: how."""
    windows = await run.step("cut", steps.CUT, own.CutStep(model=found.model, text=found.text), model_id=found.model)
    size = max(COUNTED_SEQUENCES, -(-windows.sequences // MOST_COUNTS))
    wanted = []
    for first in range(0, windows.sequences, size):
        one = own.CountExitsStep(
            model=found.model,
            windows=windows.artifact,
            first=first,
            sequences=min(size, windows.sequences - first),
        )
        one.MergeFrom(each)
        wanted.append(one)
    return [one.artifact for one in await run.map("count", steps.COUNT_EXITS, wanted, model_id=found.model)]


PLAN_SPARSITY = Job(f"/{FULL_NAME}/PlanSparsity", api.PlanSparsityRequest, api.PlanSparsityResult, plan_sparsity)
COMPARE_SELECTION = Job(
    f"/{FULL_NAME}/CompareSelection", api.CompareSelectionRequest, api.CompareSelectionResult, compare_selection
)
PROFILE_EARLY_EXIT = Job(
    f"/{FULL_NAME}/ProfileEarlyExit", api.ProfileEarlyExitRequest, api.ProfileEarlyExitResult, profile_early_exit
)
CALIBRATE_EARLY_EXIT = Job(
    f"/{FULL_NAME}/CalibrateEarlyExit",
    api.CalibrateEarlyExitRequest,
    api.CalibrateEarlyExitResult,
    calibrate_early_exit,
)
BENCHMARK_ATTENTION = Job(
    f"/{FULL_NAME}/BenchmarkAttention",
    api.BenchmarkAttentionRequest,
    api.BenchmarkAttentionResult,
    benchmark_attention,
)
INSPECT_SELECTION = Job(
    f"/{FULL_NAME}/InspectSelection", api.InspectSelectionRequest, api.InspectSelectionResult, inspect_selection
)
EXAMINE = Job(
    "/assay.checkup.v1.CheckupService/Examine/inference_optimizer",
    checkup_pb2.ExamineRequest,
    checkup_pb2.ExamineResult,
    examine,
)
JOBS = (
    PLAN_SPARSITY,
    COMPARE_SELECTION,
    PROFILE_EARLY_EXIT,
    CALIBRATE_EARLY_EXIT,
    BENCHMARK_ATTENTION,
    INSPECT_SELECTION,
)
