from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScanSensitivityRequest(_message.Message):
    __slots__ = ("request_id", "model", "shares", "samples", "seed", "text", "compat")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COMPAT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    shares: _containers.RepeatedScalarFieldContainer[float]
    samples: int
    seed: int
    text: str
    compat: bool
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., shares: _Optional[_Iterable[float]] = ..., samples: _Optional[int] = ..., seed: _Optional[int] = ..., text: _Optional[str] = ..., compat: _Optional[bool] = ...) -> None: ...

class ScanSensitivityResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class ScanSensitivityResult(_message.Message):
    __slots__ = ("masks",)
    MASKS_FIELD_NUMBER: _ClassVar[int]
    masks: _containers.RepeatedCompositeFieldContainer[ScannedMask]
    def __init__(self, masks: _Optional[_Iterable[_Union[ScannedMask, _Mapping]]] = ...) -> None: ...

class ScannedMask(_message.Message):
    __slots__ = ("mask", "share", "masked", "parameters")
    MASK_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    mask: str
    share: float
    masked: int
    parameters: int
    def __init__(self, mask: _Optional[str] = ..., share: _Optional[float] = ..., masked: _Optional[int] = ..., parameters: _Optional[int] = ...) -> None: ...

class PerturbAndEvaluateRequest(_message.Message):
    __slots__ = ("request_id", "model", "masks", "controls", "seed", "text")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    masks: _containers.RepeatedScalarFieldContainer[str]
    controls: int
    seed: int
    text: str
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., masks: _Optional[_Iterable[str]] = ..., controls: _Optional[int] = ..., seed: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class PerturbAndEvaluateResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class PerturbAndEvaluateResult(_message.Message):
    __slots__ = ("perturbation", "before", "after", "standing", "conclusive")
    PERTURBATION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    CONCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    perturbation: str
    before: PerturbedScores
    after: _containers.RepeatedCompositeFieldContainer[PerturbedScores]
    standing: str
    conclusive: bool
    def __init__(self, perturbation: _Optional[str] = ..., before: _Optional[_Union[PerturbedScores, _Mapping]] = ..., after: _Optional[_Iterable[_Union[PerturbedScores, _Mapping]]] = ..., standing: _Optional[str] = ..., conclusive: _Optional[bool] = ...) -> None: ...

class PerturbedScores(_message.Message):
    __slots__ = ("name", "share", "masked", "tom_score", "perplexity", "tasks")
    class TasksEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    TOM_SCORE_FIELD_NUMBER: _ClassVar[int]
    PERPLEXITY_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    share: float
    masked: int
    tom_score: float
    perplexity: float
    tasks: _containers.ScalarMap[str, float]
    def __init__(self, name: _Optional[str] = ..., share: _Optional[float] = ..., masked: _Optional[int] = ..., tom_score: _Optional[float] = ..., perplexity: _Optional[float] = ..., tasks: _Optional[_Mapping[str, float]] = ...) -> None: ...

class AnalyzeRopeRequest(_message.Message):
    __slots__ = ("request_id", "model", "mask", "seed")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    mask: str
    seed: int
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., mask: _Optional[str] = ..., seed: _Optional[int] = ...) -> None: ...

class AnalyzeRopeResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class AnalyzeRopeResult(_message.Message):
    __slots__ = ("analysis", "heads")
    ANALYSIS_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    analysis: str
    heads: _containers.RepeatedCompositeFieldContainer[HeadAnalysis]
    def __init__(self, analysis: _Optional[str] = ..., heads: _Optional[_Iterable[_Union[HeadAnalysis, _Mapping]]] = ...) -> None: ...

class HeadAnalysis(_message.Message):
    __slots__ = ("layer", "head", "dominant_pair", "dominant_pair_after", "first_token_attention", "first_token_attention_after", "query_key_angle", "query_key_angle_after")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DOMINANT_PAIR_FIELD_NUMBER: _ClassVar[int]
    DOMINANT_PAIR_AFTER_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_ATTENTION_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_ATTENTION_AFTER_FIELD_NUMBER: _ClassVar[int]
    QUERY_KEY_ANGLE_FIELD_NUMBER: _ClassVar[int]
    QUERY_KEY_ANGLE_AFTER_FIELD_NUMBER: _ClassVar[int]
    layer: int
    head: int
    dominant_pair: int
    dominant_pair_after: int
    first_token_attention: float
    first_token_attention_after: float
    query_key_angle: float
    query_key_angle_after: float
    def __init__(self, layer: _Optional[int] = ..., head: _Optional[int] = ..., dominant_pair: _Optional[int] = ..., dominant_pair_after: _Optional[int] = ..., first_token_attention: _Optional[float] = ..., first_token_attention_after: _Optional[float] = ..., query_key_angle: _Optional[float] = ..., query_key_angle_after: _Optional[float] = ...) -> None: ...
