from assay.tom_verifier.v1 import stories_pb2 as _stories_pb2
from assay.tom_verifier.v1 import traces_pb2 as _traces_pb2
from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Aggregation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGGREGATION_UNSPECIFIED: _ClassVar[Aggregation]
    AGGREGATION_PROD: _ClassVar[Aggregation]
    AGGREGATION_MIN: _ClassVar[Aggregation]
    AGGREGATION_MEAN: _ClassVar[Aggregation]
    AGGREGATION_LAST: _ClassVar[Aggregation]

class SelectionMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SELECTION_METHOD_UNSPECIFIED: _ClassVar[SelectionMethod]
    SELECTION_METHOD_VANILLA: _ClassVar[SelectionMethod]
    SELECTION_METHOD_WEIGHTED: _ClassVar[SelectionMethod]
    SELECTION_METHOD_MAJORITY: _ClassVar[SelectionMethod]

class LineReading(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LINE_READING_UNSPECIFIED: _ClassVar[LineReading]
    LINE_READING_EVENTS: _ClassVar[LineReading]
    LINE_READING_WORDS: _ClassVar[LineReading]
AGGREGATION_UNSPECIFIED: Aggregation
AGGREGATION_PROD: Aggregation
AGGREGATION_MIN: Aggregation
AGGREGATION_MEAN: Aggregation
AGGREGATION_LAST: Aggregation
SELECTION_METHOD_UNSPECIFIED: SelectionMethod
SELECTION_METHOD_VANILLA: SelectionMethod
SELECTION_METHOD_WEIGHTED: SelectionMethod
SELECTION_METHOD_MAJORITY: SelectionMethod
LINE_READING_UNSPECIFIED: LineReading
LINE_READING_EVENTS: LineReading
LINE_READING_WORDS: LineReading

class CandidateSet(_message.Message):
    __slots__ = ("story", "question", "traces")
    STORY_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    story: str
    question: _stories_pb2.AskedQuestion
    traces: _containers.RepeatedCompositeFieldContainer[_traces_pb2.GivenTrace]
    def __init__(self, story: _Optional[str] = ..., question: _Optional[_Union[_stories_pb2.AskedQuestion, _Mapping]] = ..., traces: _Optional[_Iterable[_Union[_traces_pb2.GivenTrace, _Mapping]]] = ...) -> None: ...

class TraceScore(_message.Message):
    __slots__ = ("step_scores", "answer")
    STEP_SCORES_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    step_scores: _containers.RepeatedScalarFieldContainer[float]
    answer: str
    def __init__(self, step_scores: _Optional[_Iterable[float]] = ..., answer: _Optional[str] = ...) -> None: ...

class ScoreTracesRequest(_message.Message):
    __slots__ = ("verifier", "candidates")
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    verifier: str
    candidates: CandidateSet
    def __init__(self, verifier: _Optional[str] = ..., candidates: _Optional[_Union[CandidateSet, _Mapping]] = ...) -> None: ...

class ScoreTracesResponse(_message.Message):
    __slots__ = ("scores", "verifier")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[TraceScore]
    verifier: str
    def __init__(self, scores: _Optional[_Iterable[_Union[TraceScore, _Mapping]]] = ..., verifier: _Optional[str] = ...) -> None: ...

class ScoreTraceStreamRequest(_message.Message):
    __slots__ = ("verifier", "candidates")
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    verifier: str
    candidates: CandidateSet
    def __init__(self, verifier: _Optional[str] = ..., candidates: _Optional[_Union[CandidateSet, _Mapping]] = ...) -> None: ...

class ScoreTraceStreamResponse(_message.Message):
    __slots__ = ("scores",)
    SCORES_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[TraceScore]
    def __init__(self, scores: _Optional[_Iterable[_Union[TraceScore, _Mapping]]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("answer", "step_scores")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    STEP_SCORES_FIELD_NUMBER: _ClassVar[int]
    answer: str
    step_scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, answer: _Optional[str] = ..., step_scores: _Optional[_Iterable[float]] = ...) -> None: ...

class SelectBestRequest(_message.Message):
    __slots__ = ("candidates", "aggregation", "method")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    aggregation: Aggregation
    method: SelectionMethod
    def __init__(self, candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., aggregation: _Optional[_Union[Aggregation, str]] = ..., method: _Optional[_Union[SelectionMethod, str]] = ...) -> None: ...

class SelectBestResponse(_message.Message):
    __slots__ = ("answer", "index", "weights", "left_out")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    answer: str
    index: int
    weights: _containers.RepeatedCompositeFieldContainer[AnswerWeight]
    left_out: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, answer: _Optional[str] = ..., index: _Optional[int] = ..., weights: _Optional[_Iterable[_Union[AnswerWeight, _Mapping]]] = ..., left_out: _Optional[_Iterable[int]] = ...) -> None: ...

class AnswerWeight(_message.Message):
    __slots__ = ("answer", "weight", "votes")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    answer: str
    weight: float
    votes: int
    def __init__(self, answer: _Optional[str] = ..., weight: _Optional[float] = ..., votes: _Optional[int] = ...) -> None: ...

class BeamSearchRequest(_message.Message):
    __slots__ = ("verifier", "generator", "story", "question", "beams", "expansions", "temperature", "seed")
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    STORY_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    BEAMS_FIELD_NUMBER: _ClassVar[int]
    EXPANSIONS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    verifier: str
    generator: str
    story: str
    question: _stories_pb2.AskedQuestion
    beams: int
    expansions: int
    temperature: float
    seed: int
    def __init__(self, verifier: _Optional[str] = ..., generator: _Optional[str] = ..., story: _Optional[str] = ..., question: _Optional[_Union[_stories_pb2.AskedQuestion, _Mapping]] = ..., beams: _Optional[int] = ..., expansions: _Optional[int] = ..., temperature: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class BeamSearchResponse(_message.Message):
    __slots__ = ("answer", "trace", "score", "generated_steps")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    GENERATED_STEPS_FIELD_NUMBER: _ClassVar[int]
    answer: str
    trace: _traces_pb2.Trace
    score: TraceScore
    generated_steps: int
    def __init__(self, answer: _Optional[str] = ..., trace: _Optional[_Union[_traces_pb2.Trace, _Mapping]] = ..., score: _Optional[_Union[TraceScore, _Mapping]] = ..., generated_steps: _Optional[int] = ...) -> None: ...

class TrainPbmRequest(_message.Message):
    __slots__ = ("request_id", "steps", "batch", "seed", "length", "generator_steps", "base", "learning_rate", "reading")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    GENERATOR_STEPS_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    steps: int
    batch: int
    seed: int
    length: int
    generator_steps: int
    base: str
    learning_rate: float
    reading: LineReading
    def __init__(self, request_id: _Optional[str] = ..., steps: _Optional[int] = ..., batch: _Optional[int] = ..., seed: _Optional[int] = ..., length: _Optional[int] = ..., generator_steps: _Optional[int] = ..., base: _Optional[str] = ..., learning_rate: _Optional[float] = ..., reading: _Optional[_Union[LineReading, str]] = ...) -> None: ...

class TrainPbmResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class TrainPbmResult(_message.Message):
    __slots__ = ("verifier", "generator", "quality", "report")
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    verifier: str
    generator: str
    quality: VerifierQuality
    report: str
    def __init__(self, verifier: _Optional[str] = ..., generator: _Optional[str] = ..., quality: _Optional[_Union[VerifierQuality, _Mapping]] = ..., report: _Optional[str] = ...) -> None: ...

class VerifierQuality(_message.Message):
    __slots__ = ("auc", "brier_skill", "ece", "questions", "steps", "selections")
    AUC_FIELD_NUMBER: _ClassVar[int]
    BRIER_SKILL_FIELD_NUMBER: _ClassVar[int]
    ECE_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SELECTIONS_FIELD_NUMBER: _ClassVar[int]
    auc: float
    brier_skill: float
    ece: float
    questions: int
    steps: int
    selections: _containers.RepeatedCompositeFieldContainer[SelectionQuality]
    def __init__(self, auc: _Optional[float] = ..., brier_skill: _Optional[float] = ..., ece: _Optional[float] = ..., questions: _Optional[int] = ..., steps: _Optional[int] = ..., selections: _Optional[_Iterable[_Union[SelectionQuality, _Mapping]]] = ...) -> None: ...

class SelectionQuality(_message.Message):
    __slots__ = ("candidates", "verifier", "verifier_low", "verifier_high", "majority", "majority_low", "majority_high", "oracle")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_LOW_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_HIGH_FIELD_NUMBER: _ClassVar[int]
    MAJORITY_FIELD_NUMBER: _ClassVar[int]
    MAJORITY_LOW_FIELD_NUMBER: _ClassVar[int]
    MAJORITY_HIGH_FIELD_NUMBER: _ClassVar[int]
    ORACLE_FIELD_NUMBER: _ClassVar[int]
    candidates: int
    verifier: float
    verifier_low: float
    verifier_high: float
    majority: float
    majority_low: float
    majority_high: float
    oracle: float
    def __init__(self, candidates: _Optional[int] = ..., verifier: _Optional[float] = ..., verifier_low: _Optional[float] = ..., verifier_high: _Optional[float] = ..., majority: _Optional[float] = ..., majority_low: _Optional[float] = ..., majority_high: _Optional[float] = ..., oracle: _Optional[float] = ...) -> None: ...
