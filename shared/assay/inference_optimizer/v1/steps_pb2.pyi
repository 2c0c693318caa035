from assay.inference_optimizer.v1 import inference_optimizer_pb2 as _inference_optimizer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PrefillStep(_message.Message):
    __slots__ = ("request", "caller")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    request: _inference_optimizer_pb2.PrefillRequest
    caller: str
    def __init__(self, request: _Optional[_Union[_inference_optimizer_pb2.PrefillRequest, _Mapping]] = ..., caller: _Optional[str] = ...) -> None: ...

class DecodeStep(_message.Message):
    __slots__ = ("request", "caller")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    request: _inference_optimizer_pb2.DecodeRequest
    caller: str
    def __init__(self, request: _Optional[_Union[_inference_optimizer_pb2.DecodeRequest, _Mapping]] = ..., caller: _Optional[str] = ...) -> None: ...

class CloseSessionStep(_message.Message):
    __slots__ = ("session", "caller")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    session: str
    caller: str
    def __init__(self, session: _Optional[str] = ..., caller: _Optional[str] = ...) -> None: ...

class ResolveStep(_message.Message):
    __slots__ = ("model", "text")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _inference_optimizer_pb2.TextSelection
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_inference_optimizer_pb2.TextSelection, _Mapping]] = ...) -> None: ...

class Resolved(_message.Message):
    __slots__ = ("model", "text", "layers", "context_tokens", "sparse_layers")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_LAYERS_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _inference_optimizer_pb2.TextSelection
    layers: int
    context_tokens: int
    sparse_layers: int
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_inference_optimizer_pb2.TextSelection, _Mapping]] = ..., layers: _Optional[int] = ..., context_tokens: _Optional[int] = ..., sparse_layers: _Optional[int] = ...) -> None: ...

class CutStep(_message.Message):
    __slots__ = ("model", "text")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _inference_optimizer_pb2.TextSelection
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_inference_optimizer_pb2.TextSelection, _Mapping]] = ...) -> None: ...

class Windows(_message.Message):
    __slots__ = ("artifact", "sequences")
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    artifact: str
    sequences: int
    def __init__(self, artifact: _Optional[str] = ..., sequences: _Optional[int] = ...) -> None: ...

class MeasureStep(_message.Message):
    __slots__ = ("model", "windows", "sparse")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    model: str
    windows: str
    sparse: _inference_optimizer_pb2.SparseConfig
    def __init__(self, model: _Optional[str] = ..., windows: _Optional[str] = ..., sparse: _Optional[_Union[_inference_optimizer_pb2.SparseConfig, _Mapping]] = ...) -> None: ...

class Measured(_message.Message):
    __slots__ = ("artifact",)
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    artifact: str
    def __init__(self, artifact: _Optional[str] = ...) -> None: ...

class PlanStep(_message.Message):
    __slots__ = ("model", "text", "max_loss_increase_nats", "sparse", "length", "sequences", "losses")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MAX_LOSS_INCREASE_NATS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _inference_optimizer_pb2.TextSelection
    max_loss_increase_nats: float
    sparse: _inference_optimizer_pb2.SparseConfig
    length: int
    sequences: int
    losses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_inference_optimizer_pb2.TextSelection, _Mapping]] = ..., max_loss_increase_nats: _Optional[float] = ..., sparse: _Optional[_Union[_inference_optimizer_pb2.SparseConfig, _Mapping]] = ..., length: _Optional[int] = ..., sequences: _Optional[int] = ..., losses: _Optional[_Iterable[str]] = ...) -> None: ...

class NextSettings(_message.Message):
    __slots__ = ("settings",)
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    settings: _containers.RepeatedCompositeFieldContainer[_inference_optimizer_pb2.SparseConfig]
    def __init__(self, settings: _Optional[_Iterable[_Union[_inference_optimizer_pb2.SparseConfig, _Mapping]]] = ...) -> None: ...

class CompareStep(_message.Message):
    __slots__ = ("model", "text", "selections", "sparse", "losses")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SELECTIONS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _inference_optimizer_pb2.TextSelection
    selections: _containers.RepeatedScalarFieldContainer[_inference_optimizer_pb2.Selection]
    sparse: _inference_optimizer_pb2.SparseConfig
    losses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_inference_optimizer_pb2.TextSelection, _Mapping]] = ..., selections: _Optional[_Iterable[_Union[_inference_optimizer_pb2.Selection, str]]] = ..., sparse: _Optional[_Union[_inference_optimizer_pb2.SparseConfig, _Mapping]] = ..., losses: _Optional[_Iterable[str]] = ...) -> None: ...

class CountExitsStep(_message.Message):
    __slots__ = ("model", "windows", "first", "sequences", "exit_layers", "skip_tokens", "sparse")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    EXIT_LAYERS_FIELD_NUMBER: _ClassVar[int]
    SKIP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    model: str
    windows: str
    first: int
    sequences: int
    exit_layers: _containers.RepeatedScalarFieldContainer[int]
    skip_tokens: int
    sparse: _inference_optimizer_pb2.SparseConfig
    def __init__(self, model: _Optional[str] = ..., windows: _Optional[str] = ..., first: _Optional[int] = ..., sequences: _Optional[int] = ..., exit_layers: _Optional[_Iterable[int]] = ..., skip_tokens: _Optional[int] = ..., sparse: _Optional[_Union[_inference_optimizer_pb2.SparseConfig, _Mapping]] = ...) -> None: ...

class ExitCounts(_message.Message):
    __slots__ = ("artifact",)
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    artifact: str
    def __init__(self, artifact: _Optional[str] = ...) -> None: ...

class ProfileStep(_message.Message):
    __slots__ = ("model", "text", "counts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _inference_optimizer_pb2.TextSelection
    counts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_inference_optimizer_pb2.TextSelection, _Mapping]] = ..., counts: _Optional[_Iterable[str]] = ...) -> None: ...

class CalibrateStep(_message.Message):
    __slots__ = ("model", "text", "epsilon", "delta", "exit_layers", "rule", "skip_tokens", "sparse", "counts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    EXIT_LAYERS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    SKIP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _inference_optimizer_pb2.TextSelection
    epsilon: float
    delta: float
    exit_layers: _containers.RepeatedScalarFieldContainer[int]
    rule: _inference_optimizer_pb2.ExitRule
    skip_tokens: int
    sparse: _inference_optimizer_pb2.SparseConfig
    counts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_inference_optimizer_pb2.TextSelection, _Mapping]] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., exit_layers: _Optional[_Iterable[int]] = ..., rule: _Optional[_Union[_inference_optimizer_pb2.ExitRule, str]] = ..., skip_tokens: _Optional[int] = ..., sparse: _Optional[_Union[_inference_optimizer_pb2.SparseConfig, _Mapping]] = ..., counts: _Optional[_Iterable[str]] = ...) -> None: ...

class InspectStep(_message.Message):
    __slots__ = ("model", "text", "sparse")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: _inference_optimizer_pb2.TextSelection
    sparse: _inference_optimizer_pb2.SparseConfig
    def __init__(self, model: _Optional[str] = ..., text: _Optional[_Union[_inference_optimizer_pb2.TextSelection, _Mapping]] = ..., sparse: _Optional[_Union[_inference_optimizer_pb2.SparseConfig, _Mapping]] = ...) -> None: ...

class WriteSectionStep(_message.Message):
    __slots__ = ("model", "plan", "comparison", "profile", "selection")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    model: str
    plan: _inference_optimizer_pb2.PlanSparsityResult
    comparison: _inference_optimizer_pb2.CompareSelectionResult
    profile: _inference_optimizer_pb2.ProfileEarlyExitResult
    selection: _inference_optimizer_pb2.InspectSelectionResult
    def __init__(self, model: _Optional[str] = ..., plan: _Optional[_Union[_inference_optimizer_pb2.PlanSparsityResult, _Mapping]] = ..., comparison: _Optional[_Union[_inference_optimizer_pb2.CompareSelectionResult, _Mapping]] = ..., profile: _Optional[_Union[_inference_optimizer_pb2.ProfileEarlyExitResult, _Mapping]] = ..., selection: _Optional[_Union[_inference_optimizer_pb2.InspectSelectionResult, _Mapping]] = ...) -> None: ...
