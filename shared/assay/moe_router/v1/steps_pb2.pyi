from assay.moe_router.v1 import moe_router_pb2 as _moe_router_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResolveStep(_message.Message):
    __slots__ = ("model", "text", "splits", "sequence_tokens")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: str
    splits: _containers.RepeatedScalarFieldContainer[str]
    sequence_tokens: int
    def __init__(self, model: _Optional[str] = ..., text: _Optional[str] = ..., splits: _Optional[_Iterable[str]] = ..., sequence_tokens: _Optional[int] = ...) -> None: ...

class Resolved(_message.Message):
    __slots__ = ("model", "text", "sequences")
    class SequencesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: str
    sequences: _containers.ScalarMap[str, int]
    def __init__(self, model: _Optional[str] = ..., text: _Optional[str] = ..., sequences: _Optional[_Mapping[str, int]] = ...) -> None: ...

class CalibrateShardStep(_message.Message):
    __slots__ = ("model", "text", "first_sequence", "last_sequence")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _moe_router_pb2.TextSelection
    first_sequence: int
    last_sequence: int
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_moe_router_pb2.TextSelection, _Mapping]] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class StoredPart(_message.Message):
    __slots__ = ("artifact",)
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    artifact: str
    def __init__(self, artifact: _Optional[str] = ...) -> None: ...

class MergeStatisticsStep(_message.Message):
    __slots__ = ("model", "text", "parts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _moe_router_pb2.TextSelection
    parts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_moe_router_pb2.TextSelection, _Mapping]] = ..., parts: _Optional[_Iterable[str]] = ...) -> None: ...

class ScoreShardStep(_message.Message):
    __slots__ = ("model", "text", "metric", "layer", "first_expert", "last_expert")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    FIRST_EXPERT_FIELD_NUMBER: _ClassVar[int]
    LAST_EXPERT_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _moe_router_pb2.TextSelection
    metric: _moe_router_pb2.ImportanceMetric
    layer: int
    first_expert: int
    last_expert: int
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_moe_router_pb2.TextSelection, _Mapping]] = ..., metric: _Optional[_Union[_moe_router_pb2.ImportanceMetric, str]] = ..., layer: _Optional[int] = ..., first_expert: _Optional[int] = ..., last_expert: _Optional[int] = ...) -> None: ...

class MergeImportanceStep(_message.Message):
    __slots__ = ("model", "text", "metric", "parts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _moe_router_pb2.TextSelection
    metric: _moe_router_pb2.ImportanceMetric
    parts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_moe_router_pb2.TextSelection, _Mapping]] = ..., metric: _Optional[_Union[_moe_router_pb2.ImportanceMetric, str]] = ..., parts: _Optional[_Iterable[str]] = ...) -> None: ...

class ClaimStep(_message.Message):
    __slots__ = ("plan", "expected_epoch")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    plan: str
    expected_epoch: int
    def __init__(self, plan: _Optional[str] = ..., expected_epoch: _Optional[int] = ...) -> None: ...

class Claimed(_message.Message):
    __slots__ = ("model", "epoch", "already", "plan")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ALREADY_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    model: str
    epoch: int
    already: _moe_router_pb2.ActivePlan
    plan: str
    def __init__(self, model: _Optional[str] = ..., epoch: _Optional[int] = ..., already: _Optional[_Union[_moe_router_pb2.ActivePlan, _Mapping]] = ..., plan: _Optional[str] = ...) -> None: ...

class BuildStep(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: str
    def __init__(self, plan: _Optional[str] = ...) -> None: ...

class VerifyStep(_message.Message):
    __slots__ = ("balanced_model",)
    BALANCED_MODEL_FIELD_NUMBER: _ClassVar[int]
    balanced_model: str
    def __init__(self, balanced_model: _Optional[str] = ...) -> None: ...

class Verified(_message.Message):
    __slots__ = ("probe_max_abs_difference", "probe_mean_divergence_nats", "bytes_before", "bytes_after")
    PROBE_MAX_ABS_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    PROBE_MEAN_DIVERGENCE_NATS_FIELD_NUMBER: _ClassVar[int]
    BYTES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    BYTES_AFTER_FIELD_NUMBER: _ClassVar[int]
    probe_max_abs_difference: float
    probe_mean_divergence_nats: float
    bytes_before: int
    bytes_after: int
    def __init__(self, probe_max_abs_difference: _Optional[float] = ..., probe_mean_divergence_nats: _Optional[float] = ..., bytes_before: _Optional[int] = ..., bytes_after: _Optional[int] = ...) -> None: ...

class ActivateStep(_message.Message):
    __slots__ = ("model", "plan", "balanced_model", "epoch")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    BALANCED_MODEL_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    model: str
    plan: str
    balanced_model: str
    epoch: int
    def __init__(self, model: _Optional[str] = ..., plan: _Optional[str] = ..., balanced_model: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class EvaluateShardStep(_message.Message):
    __slots__ = ("balanced_model", "text", "first_sequence", "last_sequence")
    BALANCED_MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    balanced_model: str
    text: _moe_router_pb2.TextSelection
    first_sequence: int
    last_sequence: int
    def __init__(self, balanced_model: _Optional[str] = ..., text: _Optional[_Union[_moe_router_pb2.TextSelection, _Mapping]] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class MergeEvaluationStep(_message.Message):
    __slots__ = ("balanced_model", "text", "bootstrap_resamples", "seed", "parts")
    BALANCED_MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_RESAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    balanced_model: str
    text: _moe_router_pb2.TextSelection
    bootstrap_resamples: int
    seed: int
    parts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, balanced_model: _Optional[str] = ..., text: _Optional[_Union[_moe_router_pb2.TextSelection, _Mapping]] = ..., bootstrap_resamples: _Optional[int] = ..., seed: _Optional[int] = ..., parts: _Optional[_Iterable[str]] = ...) -> None: ...

class WriteSectionStep(_message.Message):
    __slots__ = ("model", "statistics", "importance", "plan", "evaluation")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    model: str
    statistics: str
    importance: str
    plan: str
    evaluation: str
    def __init__(self, model: _Optional[str] = ..., statistics: _Optional[str] = ..., importance: _Optional[str] = ..., plan: _Optional[str] = ..., evaluation: _Optional[str] = ...) -> None: ...
