"""What the front asks of the engine; what each step does stands in `engine`."""

from assay.checkup.v1.checkup_pb2 import ExamineResult
from assay.engine.step import Step
from assay.tom_verifier.v1 import epistemic_pb2, sampling_pb2, sensitivity_pb2, stories_pb2, traces_pb2, verifier_pb2
from assay.tom_verifier.v1 import steps_pb2 as own

INFERENCE_OPTIMIZER = "inference_optimizer"  # the service that runs stored language models, where one is known

PARSE = Step("parse", stories_pb2.ParseStoryRequest, stories_pb2.ParseStoryResponse)
SIMULATE = Step("simulate", stories_pb2.SimulateRequest, stories_pb2.SimulateResponse, streaming=True)
ANSWER = Step("answer", stories_pb2.AnswerQuestionRequest, stories_pb2.AnswerQuestionResponse)
DRAW = Step("draw", stories_pb2.DrawStoryRequest, stories_pb2.DrawStoryResponse)
GENERATE = Step("generate", stories_pb2.GenerateStoriesRequest, stories_pb2.GenerateStoriesResponse, streaming=True)
CHECK_TRACE = Step("check_trace", traces_pb2.CheckTraceRequest, traces_pb2.CheckTraceResponse)
EVALUATE = Step("evaluate", traces_pb2.EvaluateRequest, traces_pb2.EvaluateResponse)
AUDIT = Step("audit", traces_pb2.AuditRequest, traces_pb2.AuditResponse)
SAMPLE = Step("sample", sampling_pb2.SampleTracesRequest, sampling_pb2.SampleTracesResponse, streaming=True)
# The same of a model that others run.
SAMPLE_ELSEWHERE = Step(
    "sample_elsewhere", sampling_pb2.SampleTracesRequest, sampling_pb2.SampleTracesResponse, streaming=True, waits=True
)
SCORE = Step("score", verifier_pb2.ScoreTracesRequest, verifier_pb2.ScoreTracesResponse)
SELECT = Step("select", verifier_pb2.SelectBestRequest, verifier_pb2.SelectBestResponse)
BEAM_SEARCH = Step("beam_search", verifier_pb2.BeamSearchRequest, verifier_pb2.BeamSearchResponse)
CREATE_MODEL = Step("create_model", epistemic_pb2.CreateModelRequest, epistemic_pb2.CreateModelResponse)
UPDATE_MODEL = Step("update_model", epistemic_pb2.UpdateModelRequest, epistemic_pb2.UpdateModelResponse)
MODEL_CHECK = Step("model_check", epistemic_pb2.ModelCheckRequest, epistemic_pb2.ModelCheckResponse)
CONTRACT = Step("contract", epistemic_pb2.ContractRequest, epistemic_pb2.ContractResponse)
TRAIN_GENERATOR = Step("train_generator", own.TrainGeneratorStep, own.StoredPart)
TRAIN_VERIFIER = Step("train_verifier", own.TrainVerifierStep, own.StoredPart)
MEASURE_VERIFIER = Step("measure_verifier", own.MeasureVerifierStep, verifier_pb2.TrainPbmResult)
RESOLVE = Step("resolve", own.ResolveStep, own.Resolved)
SCAN = Step("scan", sensitivity_pb2.ScanSensitivityRequest, sensitivity_pb2.ScanSensitivityResult)
PERTURB = Step("perturb", sensitivity_pb2.PerturbAndEvaluateRequest, sensitivity_pb2.PerturbAndEvaluateResult)
ROPE = Step("rope", sensitivity_pb2.AnalyzeRopeRequest, sensitivity_pb2.AnalyzeRopeResult)
PROBE_MODEL = Step("probe_model", own.ProbeModelStep, own.ProbeModelReply)
WRITE_SECTION = Step("write_section", own.WriteSectionStep, ExamineResult)
