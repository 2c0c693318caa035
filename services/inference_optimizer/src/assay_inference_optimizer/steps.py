"""What the front asks of the engine; what each step does stands in `engine`.

Steps that generate wait for the batching loop they share, and so take no place among those that compute.
"""

from assay.checkup.v1.checkup_pb2 import ExamineResult
from assay.engine.step import Step
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.inference_optimizer.v1 import steps_pb2 as own

GENERATE = Step("generate", api.GenerateRequest, api.GenerateResponse, streaming=True, waits=True)
PREFILL = Step("prefill", own.PrefillStep, api.PrefillResponse, waits=True)
DECODE = Step("decode", own.DecodeStep, api.DecodeResponse, streaming=True, waits=True)
CLOSE_SESSION = Step("close_session", own.CloseSessionStep, api.CloseSessionResponse, waits=True)
SCORE = Step("score", api.ScoreRequest, api.ScoreResponse)
LIST_MODELS = Step("list_models", api.ListModelsRequest, api.ListModelsResponse, waits=True)
LOAD_MODEL = Step("load_model", api.LoadModelRequest, api.LoadModelResponse)
UNLOAD_MODEL = Step("unload_model", api.UnloadModelRequest, api.UnloadModelResponse, waits=True)
RESOLVE = Step("resolve", own.ResolveStep, own.Resolved)
CUT = Step("cut", own.CutStep, own.Windows)
MEASURE = Step("measure", own.MeasureStep, own.Measured)
NEXT_SETTINGS = Step("next_settings", own.PlanStep, own.NextSettings)
PLAN = Step("plan", own.PlanStep, api.PlanSparsityResult)
COMPARE = Step("compare", own.CompareStep, api.CompareSelectionResult)
COUNT_EXITS = Step("count_exits", own.CountExitsStep, own.ExitCounts)
PROFILE = Step("profile", own.ProfileStep, api.ProfileEarlyExitResult)
CALIBRATE = Step("calibrate", own.CalibrateStep, api.CalibrateEarlyExitResult)
BENCHMARK = Step("benchmark", api.BenchmarkAttentionRequest, api.BenchmarkAttentionResult)
INSPECT = Step("inspect", own.InspectStep, api.InspectSelectionResult)
WRITE_SECTION = Step("write_section", own.WriteSectionStep, ExamineResult)
