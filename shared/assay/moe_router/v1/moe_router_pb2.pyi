from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImportanceMetric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMPORTANCE_METRIC_UNSPECIFIED: _ClassVar[ImportanceMetric]
    IMPORTANCE_METRIC_LEAVE_ONE_OUT_LOSS: _ClassVar[ImportanceMetric]
    IMPORTANCE_METRIC_LEAVE_ONE_OUT_ACCURACY: _ClassVar[ImportanceMetric]
    IMPORTANCE_METRIC_ACTIVATION_NORM: _ClassVar[ImportanceMetric]
    IMPORTANCE_METRIC_WANDA_ROW: _ClassVar[ImportanceMetric]
    IMPORTANCE_METRIC_FREQUENCY: _ClassVar[ImportanceMetric]

class PlanPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_POLICY_UNSPECIFIED: _ClassVar[PlanPolicy]
    PLAN_POLICY_PAPER: _ClassVar[PlanPolicy]
    PLAN_POLICY_TARGET_LIS: _ClassVar[PlanPolicy]
    PLAN_POLICY_BYTES: _ClassVar[PlanPolicy]
IMPORTANCE_METRIC_UNSPECIFIED: ImportanceMetric
IMPORTANCE_METRIC_LEAVE_ONE_OUT_LOSS: ImportanceMetric
IMPORTANCE_METRIC_LEAVE_ONE_OUT_ACCURACY: ImportanceMetric
IMPORTANCE_METRIC_ACTIVATION_NORM: ImportanceMetric
IMPORTANCE_METRIC_WANDA_ROW: ImportanceMetric
IMPORTANCE_METRIC_FREQUENCY: ImportanceMetric
PLAN_POLICY_UNSPECIFIED: PlanPolicy
PLAN_POLICY_PAPER: PlanPolicy
PLAN_POLICY_TARGET_LIS: PlanPolicy
PLAN_POLICY_BYTES: PlanPolicy

class DescribeModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class DescribeModelResponse(_message.Message):
    __slots__ = ("model_class", "model_type", "fingerprint", "layers", "dense_layers", "parameters", "expert_parameters", "bytes")
    MODEL_CLASS_FIELD_NUMBER: _ClassVar[int]
    MODEL_TYPE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    DENSE_LAYERS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    EXPERT_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    model_class: str
    model_type: str
    fingerprint: str
    layers: _containers.RepeatedCompositeFieldContainer[MoeLayer]
    dense_layers: _containers.RepeatedScalarFieldContainer[int]
    parameters: int
    expert_parameters: int
    bytes: int
    def __init__(self, model_class: _Optional[str] = ..., model_type: _Optional[str] = ..., fingerprint: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[MoeLayer, _Mapping]]] = ..., dense_layers: _Optional[_Iterable[int]] = ..., parameters: _Optional[int] = ..., expert_parameters: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class MoeLayer(_message.Message):
    __slots__ = ("layer", "experts", "top_k", "shared_experts", "bytes_per_expert", "dtype", "capacity", "layout", "transposed", "interleaved", "biased")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    SHARED_EXPERTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_EXPERT_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    TRANSPOSED_FIELD_NUMBER: _ClassVar[int]
    INTERLEAVED_FIELD_NUMBER: _ClassVar[int]
    BIASED_FIELD_NUMBER: _ClassVar[int]
    layer: int
    experts: int
    top_k: int
    shared_experts: int
    bytes_per_expert: int
    dtype: str
    capacity: int
    layout: str
    transposed: bool
    interleaved: bool
    biased: bool
    def __init__(self, layer: _Optional[int] = ..., experts: _Optional[int] = ..., top_k: _Optional[int] = ..., shared_experts: _Optional[int] = ..., bytes_per_expert: _Optional[int] = ..., dtype: _Optional[str] = ..., capacity: _Optional[int] = ..., layout: _Optional[str] = ..., transposed: _Optional[bool] = ..., interleaved: _Optional[bool] = ..., biased: _Optional[bool] = ...) -> None: ...

class TextSelection(_message.Message):
    __slots__ = ("text", "split", "sequences", "sequence_tokens", "batch_sequences")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    text: str
    split: str
    sequences: int
    sequence_tokens: int
    batch_sequences: int
    def __init__(self, text: _Optional[str] = ..., split: _Optional[str] = ..., sequences: _Optional[int] = ..., sequence_tokens: _Optional[int] = ..., batch_sequences: _Optional[int] = ...) -> None: ...

class CalibrateRequest(_message.Message):
    __slots__ = ("request_id", "model", "text")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    text: TextSelection
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., text: _Optional[_Union[TextSelection, _Mapping]] = ...) -> None: ...

class CalibrateResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class CalibrateResult(_message.Message):
    __slots__ = ("statistics", "layers")
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    statistics: str
    layers: _containers.RepeatedCompositeFieldContainer[LayerBalance]
    def __init__(self, statistics: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[LayerBalance, _Mapping]]] = ...) -> None: ...

class LayerBalance(_message.Message):
    __slots__ = ("layer", "load_imbalance", "routed_tokens", "masked_tokens", "dropped_tokens", "expert_tokens", "expert_weight_sums")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    LOAD_IMBALANCE_FIELD_NUMBER: _ClassVar[int]
    ROUTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MASKED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXPERT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXPERT_WEIGHT_SUMS_FIELD_NUMBER: _ClassVar[int]
    layer: int
    load_imbalance: float
    routed_tokens: int
    masked_tokens: int
    dropped_tokens: int
    expert_tokens: _containers.RepeatedScalarFieldContainer[int]
    expert_weight_sums: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, layer: _Optional[int] = ..., load_imbalance: _Optional[float] = ..., routed_tokens: _Optional[int] = ..., masked_tokens: _Optional[int] = ..., dropped_tokens: _Optional[int] = ..., expert_tokens: _Optional[_Iterable[int]] = ..., expert_weight_sums: _Optional[_Iterable[float]] = ...) -> None: ...

class ScoreImportanceRequest(_message.Message):
    __slots__ = ("request_id", "model", "text", "metric")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    text: TextSelection
    metric: ImportanceMetric
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., text: _Optional[_Union[TextSelection, _Mapping]] = ..., metric: _Optional[_Union[ImportanceMetric, str]] = ...) -> None: ...

class ScoreImportanceResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class ScoreImportanceResult(_message.Message):
    __slots__ = ("importance", "layers")
    IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    importance: str
    layers: _containers.RepeatedCompositeFieldContainer[LayerImportance]
    def __init__(self, importance: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[LayerImportance, _Mapping]]] = ...) -> None: ...

class LayerImportance(_message.Message):
    __slots__ = ("layer", "expert_importance")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    EXPERT_IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    layer: int
    expert_importance: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, layer: _Optional[int] = ..., expert_importance: _Optional[_Iterable[float]] = ...) -> None: ...

class PlanReplicateQuantizeRequest(_message.Message):
    __slots__ = ("statistics", "importance", "policy", "target_load_imbalance", "bits", "budget_bytes", "exact")
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    TARGET_LOAD_IMBALANCE_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    statistics: str
    importance: str
    policy: PlanPolicy
    target_load_imbalance: float
    bits: _containers.RepeatedScalarFieldContainer[int]
    budget_bytes: int
    exact: bool
    def __init__(self, statistics: _Optional[str] = ..., importance: _Optional[str] = ..., policy: _Optional[_Union[PlanPolicy, str]] = ..., target_load_imbalance: _Optional[float] = ..., bits: _Optional[_Iterable[int]] = ..., budget_bytes: _Optional[int] = ..., exact: _Optional[bool] = ...) -> None: ...

class PlanReplicateQuantizeResponse(_message.Message):
    __slots__ = ("plan", "bytes_before", "bytes_after", "layers")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    BYTES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    BYTES_AFTER_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    plan: str
    bytes_before: int
    bytes_after: int
    layers: _containers.RepeatedCompositeFieldContainer[LayerPlan]
    def __init__(self, plan: _Optional[str] = ..., bytes_before: _Optional[int] = ..., bytes_after: _Optional[int] = ..., layers: _Optional[_Iterable[_Union[LayerPlan, _Mapping]]] = ...) -> None: ...

class LayerPlan(_message.Message):
    __slots__ = ("layer", "slot_experts", "slot_bits", "load_imbalance_before", "lis_logical", "lis_slots", "notes")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    SLOT_EXPERTS_FIELD_NUMBER: _ClassVar[int]
    SLOT_BITS_FIELD_NUMBER: _ClassVar[int]
    LOAD_IMBALANCE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    LIS_LOGICAL_FIELD_NUMBER: _ClassVar[int]
    LIS_SLOTS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    layer: int
    slot_experts: _containers.RepeatedScalarFieldContainer[int]
    slot_bits: _containers.RepeatedScalarFieldContainer[int]
    load_imbalance_before: float
    lis_logical: float
    lis_slots: float
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, layer: _Optional[int] = ..., slot_experts: _Optional[_Iterable[int]] = ..., slot_bits: _Optional[_Iterable[int]] = ..., load_imbalance_before: _Optional[float] = ..., lis_logical: _Optional[float] = ..., lis_slots: _Optional[float] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class ApplyPlanRequest(_message.Message):
    __slots__ = ("request_id", "plan", "expected_epoch")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    plan: str
    expected_epoch: int
    def __init__(self, request_id: _Optional[str] = ..., plan: _Optional[str] = ..., expected_epoch: _Optional[int] = ...) -> None: ...

class ApplyPlanResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class ApplyPlanResult(_message.Message):
    __slots__ = ("balanced_model", "epoch", "bytes_before", "bytes_after", "probe_max_abs_difference", "probe_mean_divergence_nats")
    BALANCED_MODEL_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BYTES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    BYTES_AFTER_FIELD_NUMBER: _ClassVar[int]
    PROBE_MAX_ABS_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    PROBE_MEAN_DIVERGENCE_NATS_FIELD_NUMBER: _ClassVar[int]
    balanced_model: str
    epoch: int
    bytes_before: int
    bytes_after: int
    probe_max_abs_difference: float
    probe_mean_divergence_nats: float
    def __init__(self, balanced_model: _Optional[str] = ..., epoch: _Optional[int] = ..., bytes_before: _Optional[int] = ..., bytes_after: _Optional[int] = ..., probe_max_abs_difference: _Optional[float] = ..., probe_mean_divergence_nats: _Optional[float] = ...) -> None: ...

class RevertPlanRequest(_message.Message):
    __slots__ = ("model", "expected_epoch")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    model: str
    expected_epoch: int
    def __init__(self, model: _Optional[str] = ..., expected_epoch: _Optional[int] = ...) -> None: ...

class RevertPlanResponse(_message.Message):
    __slots__ = ("active",)
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    active: ActivePlan
    def __init__(self, active: _Optional[_Union[ActivePlan, _Mapping]] = ...) -> None: ...

class GetActivePlanRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetActivePlanResponse(_message.Message):
    __slots__ = ("active",)
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    active: ActivePlan
    def __init__(self, active: _Optional[_Union[ActivePlan, _Mapping]] = ...) -> None: ...

class ActivePlan(_message.Message):
    __slots__ = ("plan", "balanced_model", "epoch")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    BALANCED_MODEL_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    plan: str
    balanced_model: str
    epoch: int
    def __init__(self, plan: _Optional[str] = ..., balanced_model: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("request_id", "balanced_model", "text", "bootstrap_resamples", "seed")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BALANCED_MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_RESAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    balanced_model: str
    text: TextSelection
    bootstrap_resamples: int
    seed: int
    def __init__(self, request_id: _Optional[str] = ..., balanced_model: _Optional[str] = ..., text: _Optional[_Union[TextSelection, _Mapping]] = ..., bootstrap_resamples: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class EvaluateResult(_message.Message):
    __slots__ = ("evaluation", "loss_nats", "accuracy", "layers", "sequences")
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    LOSS_NATS_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    evaluation: str
    loss_nats: Comparison
    accuracy: Comparison
    layers: _containers.RepeatedCompositeFieldContainer[BalanceChange]
    sequences: int
    def __init__(self, evaluation: _Optional[str] = ..., loss_nats: _Optional[_Union[Comparison, _Mapping]] = ..., accuracy: _Optional[_Union[Comparison, _Mapping]] = ..., layers: _Optional[_Iterable[_Union[BalanceChange, _Mapping]]] = ..., sequences: _Optional[int] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("before", "after", "change", "change_low", "change_high")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_LOW_FIELD_NUMBER: _ClassVar[int]
    CHANGE_HIGH_FIELD_NUMBER: _ClassVar[int]
    before: float
    after: float
    change: float
    change_low: float
    change_high: float
    def __init__(self, before: _Optional[float] = ..., after: _Optional[float] = ..., change: _Optional[float] = ..., change_low: _Optional[float] = ..., change_high: _Optional[float] = ...) -> None: ...

class BalanceChange(_message.Message):
    __slots__ = ("layer", "load_imbalance_before", "lis_logical", "lis_slots", "ratio")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    LOAD_IMBALANCE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    LIS_LOGICAL_FIELD_NUMBER: _ClassVar[int]
    LIS_SLOTS_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    layer: int
    load_imbalance_before: float
    lis_logical: float
    lis_slots: float
    ratio: float
    def __init__(self, layer: _Optional[int] = ..., load_imbalance_before: _Optional[float] = ..., lis_logical: _Optional[float] = ..., lis_slots: _Optional[float] = ..., ratio: _Optional[float] = ...) -> None: ...
