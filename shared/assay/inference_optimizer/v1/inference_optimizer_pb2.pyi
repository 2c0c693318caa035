from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SparseVariant(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPARSE_VARIANT_UNSPECIFIED: _ClassVar[SparseVariant]
    SPARSE_VARIANT_ICML: _ClassVar[SparseVariant]
    SPARSE_VARIANT_V1: _ClassVar[SparseVariant]

class Selection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SELECTION_UNSPECIFIED: _ClassVar[Selection]
    SELECTION_SKETCH_WALK: _ClassVar[Selection]
    SELECTION_ONE_HOP: _ClassVar[Selection]
    SELECTION_ORACLE: _ClassVar[Selection]
    SELECTION_SINK_WINDOW: _ClassVar[Selection]
    SELECTION_RANDOM: _ClassVar[Selection]
    SELECTION_DENSE: _ClassVar[Selection]

class DensityScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DENSITY_SCOPE_UNSPECIFIED: _ClassVar[DensityScope]
    DENSITY_SCOPE_SPARSE_LAYERS: _ClassVar[DensityScope]
    DENSITY_SCOPE_ALL_LAYERS: _ClassVar[DensityScope]

class EarlyExitMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EARLY_EXIT_MODE_UNSPECIFIED: _ClassVar[EarlyExitMode]
    EARLY_EXIT_MODE_NONE: _ClassVar[EarlyExitMode]
    EARLY_EXIT_MODE_SPECULATIVE: _ClassVar[EarlyExitMode]
    EARLY_EXIT_MODE_RISK_CONTROLLED: _ClassVar[EarlyExitMode]

class ExitRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXIT_RULE_UNSPECIFIED: _ClassVar[ExitRule]
    EXIT_RULE_MAX_PROBABILITY: _ClassVar[ExitRule]
    EXIT_RULE_MARGIN: _ClassVar[ExitRule]
    EXIT_RULE_ENTROPY: _ClassVar[ExitRule]
    EXIT_RULE_STATE_COSINE: _ClassVar[ExitRule]
    EXIT_RULE_PATIENCE: _ClassVar[ExitRule]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_END: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]

class AttentionPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTENTION_PHASE_UNSPECIFIED: _ClassVar[AttentionPhase]
    ATTENTION_PHASE_PREFILL: _ClassVar[AttentionPhase]
    ATTENTION_PHASE_DECODE: _ClassVar[AttentionPhase]
SPARSE_VARIANT_UNSPECIFIED: SparseVariant
SPARSE_VARIANT_ICML: SparseVariant
SPARSE_VARIANT_V1: SparseVariant
SELECTION_UNSPECIFIED: Selection
SELECTION_SKETCH_WALK: Selection
SELECTION_ONE_HOP: Selection
SELECTION_ORACLE: Selection
SELECTION_SINK_WINDOW: Selection
SELECTION_RANDOM: Selection
SELECTION_DENSE: Selection
DENSITY_SCOPE_UNSPECIFIED: DensityScope
DENSITY_SCOPE_SPARSE_LAYERS: DensityScope
DENSITY_SCOPE_ALL_LAYERS: DensityScope
EARLY_EXIT_MODE_UNSPECIFIED: EarlyExitMode
EARLY_EXIT_MODE_NONE: EarlyExitMode
EARLY_EXIT_MODE_SPECULATIVE: EarlyExitMode
EARLY_EXIT_MODE_RISK_CONTROLLED: EarlyExitMode
EXIT_RULE_UNSPECIFIED: ExitRule
EXIT_RULE_MAX_PROBABILITY: ExitRule
EXIT_RULE_MARGIN: ExitRule
EXIT_RULE_ENTROPY: ExitRule
EXIT_RULE_STATE_COSINE: ExitRule
EXIT_RULE_PATIENCE: ExitRule
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_END: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason
ATTENTION_PHASE_UNSPECIFIED: AttentionPhase
ATTENTION_PHASE_PREFILL: AttentionPhase
ATTENTION_PHASE_DECODE: AttentionPhase

class SparseConfig(_message.Message):
    __slots__ = ("variant", "selection", "block_size", "sketch_dim", "damping", "degree", "sink_tokens", "window_tokens", "target_density", "density_scope", "dense_layers", "seed", "causal_sketch", "layer_densities")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    BLOCK_SIZE_FIELD_NUMBER: _ClassVar[int]
    SKETCH_DIM_FIELD_NUMBER: _ClassVar[int]
    DAMPING_FIELD_NUMBER: _ClassVar[int]
    DEGREE_FIELD_NUMBER: _ClassVar[int]
    SINK_TOKENS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TARGET_DENSITY_FIELD_NUMBER: _ClassVar[int]
    DENSITY_SCOPE_FIELD_NUMBER: _ClassVar[int]
    DENSE_LAYERS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CAUSAL_SKETCH_FIELD_NUMBER: _ClassVar[int]
    LAYER_DENSITIES_FIELD_NUMBER: _ClassVar[int]
    variant: SparseVariant
    selection: Selection
    block_size: int
    sketch_dim: int
    damping: float
    degree: int
    sink_tokens: int
    window_tokens: int
    target_density: float
    density_scope: DensityScope
    dense_layers: int
    seed: int
    causal_sketch: bool
    layer_densities: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, variant: _Optional[_Union[SparseVariant, str]] = ..., selection: _Optional[_Union[Selection, str]] = ..., block_size: _Optional[int] = ..., sketch_dim: _Optional[int] = ..., damping: _Optional[float] = ..., degree: _Optional[int] = ..., sink_tokens: _Optional[int] = ..., window_tokens: _Optional[int] = ..., target_density: _Optional[float] = ..., density_scope: _Optional[_Union[DensityScope, str]] = ..., dense_layers: _Optional[int] = ..., seed: _Optional[int] = ..., causal_sketch: _Optional[bool] = ..., layer_densities: _Optional[_Iterable[float]] = ...) -> None: ...

class EarlyExitConfig(_message.Message):
    __slots__ = ("mode", "exit_layers", "draft_tokens", "calibration")
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXIT_LAYERS_FIELD_NUMBER: _ClassVar[int]
    DRAFT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    mode: EarlyExitMode
    exit_layers: _containers.RepeatedScalarFieldContainer[int]
    draft_tokens: int
    calibration: str
    def __init__(self, mode: _Optional[_Union[EarlyExitMode, str]] = ..., exit_layers: _Optional[_Iterable[int]] = ..., draft_tokens: _Optional[int] = ..., calibration: _Optional[str] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("max_new_tokens", "temperature", "top_p", "top_k", "seed", "stop", "ignore_end", "alternatives", "fit_context")
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    IGNORE_END_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    FIT_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    ignore_end: bool
    alternatives: int
    fit_context: bool
    def __init__(self, max_new_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., top_k: _Optional[int] = ..., seed: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., ignore_end: _Optional[bool] = ..., alternatives: _Optional[int] = ..., fit_context: _Optional[bool] = ...) -> None: ...

class TokenIds(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ids: _Optional[_Iterable[int]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "content")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class Conversation(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

class Prompt(_message.Message):
    __slots__ = ("text", "tokens", "conversation")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    text: str
    tokens: TokenIds
    conversation: Conversation
    def __init__(self, text: _Optional[str] = ..., tokens: _Optional[_Union[TokenIds, _Mapping]] = ..., conversation: _Optional[_Union[Conversation, _Mapping]] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("model", "prompt", "sampling", "sparse", "early_exit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    EARLY_EXIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    prompt: Prompt
    sampling: Sampling
    sparse: SparseConfig
    early_exit: EarlyExitConfig
    def __init__(self, model: _Optional[str] = ..., prompt: _Optional[_Union[Prompt, _Mapping]] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ..., early_exit: _Optional[_Union[EarlyExitConfig, _Mapping]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("generated",)
    GENERATED_FIELD_NUMBER: _ClassVar[int]
    generated: Generated
    def __init__(self, generated: _Optional[_Union[Generated, _Mapping]] = ...) -> None: ...

class Generated(_message.Message):
    __slots__ = ("tokens", "text", "finish_reason", "usage")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    text: str
    finish_reason: FinishReason
    usage: Usage
    def __init__(self, tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ..., text: _Optional[str] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("id", "text", "log_probability", "exit_layer", "density", "alternatives")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    EXIT_LAYER_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    log_probability: float
    exit_layer: int
    density: float
    alternatives: _containers.RepeatedCompositeFieldContainer[Alternative]
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., log_probability: _Optional[float] = ..., exit_layer: _Optional[int] = ..., density: _Optional[float] = ..., alternatives: _Optional[_Iterable[_Union[Alternative, _Mapping]]] = ...) -> None: ...

class Alternative(_message.Message):
    __slots__ = ("id", "text", "log_probability")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    log_probability: float
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., log_probability: _Optional[float] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "generated_tokens", "layers", "density", "drafted_tokens", "accepted_tokens", "model", "dense_retry")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    DRAFTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DENSE_RETRY_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    generated_tokens: int
    layers: _containers.RepeatedCompositeFieldContainer[LayerDensity]
    density: float
    drafted_tokens: int
    accepted_tokens: int
    model: str
    dense_retry: bool
    def __init__(self, prompt_tokens: _Optional[int] = ..., generated_tokens: _Optional[int] = ..., layers: _Optional[_Iterable[_Union[LayerDensity, _Mapping]]] = ..., density: _Optional[float] = ..., drafted_tokens: _Optional[int] = ..., accepted_tokens: _Optional[int] = ..., model: _Optional[str] = ..., dense_retry: _Optional[bool] = ...) -> None: ...

class LayerDensity(_message.Message):
    __slots__ = ("layer", "density", "fallback")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    layer: int
    density: float
    fallback: str
    def __init__(self, layer: _Optional[int] = ..., density: _Optional[float] = ..., fallback: _Optional[str] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("model", "texts", "sparse", "alternatives", "tokens")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    model: str
    texts: _containers.RepeatedScalarFieldContainer[str]
    sparse: SparseConfig
    alternatives: int
    tokens: _containers.RepeatedCompositeFieldContainer[TokenIds]
    def __init__(self, model: _Optional[str] = ..., texts: _Optional[_Iterable[str]] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ..., alternatives: _Optional[int] = ..., tokens: _Optional[_Iterable[_Union[TokenIds, _Mapping]]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("scores", "model")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[TextScore]
    model: str
    def __init__(self, scores: _Optional[_Iterable[_Union[TextScore, _Mapping]]] = ..., model: _Optional[str] = ...) -> None: ...

class TextScore(_message.Message):
    __slots__ = ("tokens", "text", "dense_retry")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DENSE_RETRY_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[ScoredToken]
    text: str
    dense_retry: bool
    def __init__(self, tokens: _Optional[_Iterable[_Union[ScoredToken, _Mapping]]] = ..., text: _Optional[str] = ..., dense_retry: _Optional[bool] = ...) -> None: ...

class ScoredToken(_message.Message):
    __slots__ = ("id", "log_probability", "start_byte", "end_byte", "alternatives")
    ID_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    START_BYTE_FIELD_NUMBER: _ClassVar[int]
    END_BYTE_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    id: int
    log_probability: float
    start_byte: int
    end_byte: int
    alternatives: _containers.RepeatedCompositeFieldContainer[Alternative]
    def __init__(self, id: _Optional[int] = ..., log_probability: _Optional[float] = ..., start_byte: _Optional[int] = ..., end_byte: _Optional[int] = ..., alternatives: _Optional[_Iterable[_Union[Alternative, _Mapping]]] = ...) -> None: ...

class PrefillRequest(_message.Message):
    __slots__ = ("model", "session", "prompt", "sparse")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    model: str
    session: str
    prompt: Prompt
    sparse: SparseConfig
    def __init__(self, model: _Optional[str] = ..., session: _Optional[str] = ..., prompt: _Optional[_Union[Prompt, _Mapping]] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ...) -> None: ...

class PrefillResponse(_message.Message):
    __slots__ = ("session", "tokens", "cache_bytes", "layers", "sparse", "rebuilt", "dense_retry")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    REBUILT_FIELD_NUMBER: _ClassVar[int]
    DENSE_RETRY_FIELD_NUMBER: _ClassVar[int]
    session: str
    tokens: int
    cache_bytes: int
    layers: _containers.RepeatedCompositeFieldContainer[LayerDensity]
    sparse: SparseConfig
    rebuilt: bool
    dense_retry: bool
    def __init__(self, session: _Optional[str] = ..., tokens: _Optional[int] = ..., cache_bytes: _Optional[int] = ..., layers: _Optional[_Iterable[_Union[LayerDensity, _Mapping]]] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ..., rebuilt: _Optional[bool] = ..., dense_retry: _Optional[bool] = ...) -> None: ...

class DecodeRequest(_message.Message):
    __slots__ = ("session", "sampling", "sparse")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    session: str
    sampling: Sampling
    sparse: SparseConfig
    def __init__(self, session: _Optional[str] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ...) -> None: ...

class DecodeResponse(_message.Message):
    __slots__ = ("generated",)
    GENERATED_FIELD_NUMBER: _ClassVar[int]
    generated: Generated
    def __init__(self, generated: _Optional[_Union[Generated, _Mapping]] = ...) -> None: ...

class CloseSessionRequest(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: str
    def __init__(self, session: _Optional[str] = ...) -> None: ...

class CloseSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TextSelection(_message.Message):
    __slots__ = ("text", "split", "literal", "sequences", "sequence_tokens")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    LITERAL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    text: str
    split: str
    literal: str
    sequences: int
    sequence_tokens: int
    def __init__(self, text: _Optional[str] = ..., split: _Optional[str] = ..., literal: _Optional[str] = ..., sequences: _Optional[int] = ..., sequence_tokens: _Optional[int] = ...) -> None: ...

class PlanSparsityRequest(_message.Message):
    __slots__ = ("request_id", "model", "text", "max_loss_increase_nats", "sparse", "length")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MAX_LOSS_INCREASE_NATS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    text: TextSelection
    max_loss_increase_nats: float
    sparse: SparseConfig
    length: int
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., text: _Optional[_Union[TextSelection, _Mapping]] = ..., max_loss_increase_nats: _Optional[float] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ..., length: _Optional[int] = ...) -> None: ...

class PlanSparsityResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class PlanSparsityResult(_message.Message):
    __slots__ = ("plan", "sparse", "layers", "dense_loss_nats", "loss_nats", "within_budget", "predicted_attention_ratio", "predicted_prefill_ratio", "curve", "sequences", "sequence_tokens", "length", "increase_nats")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    DENSE_LOSS_NATS_FIELD_NUMBER: _ClassVar[int]
    LOSS_NATS_FIELD_NUMBER: _ClassVar[int]
    WITHIN_BUDGET_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_ATTENTION_RATIO_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_PREFILL_RATIO_FIELD_NUMBER: _ClassVar[int]
    CURVE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    INCREASE_NATS_FIELD_NUMBER: _ClassVar[int]
    plan: str
    sparse: SparseConfig
    layers: _containers.RepeatedCompositeFieldContainer[LayerDensity]
    dense_loss_nats: float
    loss_nats: float
    within_budget: bool
    predicted_attention_ratio: float
    predicted_prefill_ratio: float
    curve: _containers.RepeatedCompositeFieldContainer[PlanPoint]
    sequences: int
    sequence_tokens: int
    length: int
    increase_nats: Interval
    def __init__(self, plan: _Optional[str] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ..., layers: _Optional[_Iterable[_Union[LayerDensity, _Mapping]]] = ..., dense_loss_nats: _Optional[float] = ..., loss_nats: _Optional[float] = ..., within_budget: _Optional[bool] = ..., predicted_attention_ratio: _Optional[float] = ..., predicted_prefill_ratio: _Optional[float] = ..., curve: _Optional[_Iterable[_Union[PlanPoint, _Mapping]]] = ..., sequences: _Optional[int] = ..., sequence_tokens: _Optional[int] = ..., length: _Optional[int] = ..., increase_nats: _Optional[_Union[Interval, _Mapping]] = ...) -> None: ...

class PlanPoint(_message.Message):
    __slots__ = ("target_density", "density", "loss_nats", "increase_nats", "layer_densities")
    TARGET_DENSITY_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    LOSS_NATS_FIELD_NUMBER: _ClassVar[int]
    INCREASE_NATS_FIELD_NUMBER: _ClassVar[int]
    LAYER_DENSITIES_FIELD_NUMBER: _ClassVar[int]
    target_density: float
    density: float
    loss_nats: float
    increase_nats: Interval
    layer_densities: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, target_density: _Optional[float] = ..., density: _Optional[float] = ..., loss_nats: _Optional[float] = ..., increase_nats: _Optional[_Union[Interval, _Mapping]] = ..., layer_densities: _Optional[_Iterable[float]] = ...) -> None: ...

class CompareSelectionRequest(_message.Message):
    __slots__ = ("request_id", "model", "text", "selections", "sparse")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SELECTIONS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    text: TextSelection
    selections: _containers.RepeatedScalarFieldContainer[Selection]
    sparse: SparseConfig
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., text: _Optional[_Union[TextSelection, _Mapping]] = ..., selections: _Optional[_Iterable[_Union[Selection, str]]] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ...) -> None: ...

class CompareSelectionResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class CompareSelectionResult(_message.Message):
    __slots__ = ("comparison", "methods", "sequences", "sequence_tokens")
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    comparison: str
    methods: _containers.RepeatedCompositeFieldContainer[SelectionLoss]
    sequences: int
    sequence_tokens: int
    def __init__(self, comparison: _Optional[str] = ..., methods: _Optional[_Iterable[_Union[SelectionLoss, _Mapping]]] = ..., sequences: _Optional[int] = ..., sequence_tokens: _Optional[int] = ...) -> None: ...

class SelectionLoss(_message.Message):
    __slots__ = ("selection", "loss_nats", "density", "increase_nats", "gain_kept")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LOSS_NATS_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    INCREASE_NATS_FIELD_NUMBER: _ClassVar[int]
    GAIN_KEPT_FIELD_NUMBER: _ClassVar[int]
    selection: Selection
    loss_nats: float
    density: float
    increase_nats: Interval
    gain_kept: Interval
    def __init__(self, selection: _Optional[_Union[Selection, str]] = ..., loss_nats: _Optional[float] = ..., density: _Optional[float] = ..., increase_nats: _Optional[_Union[Interval, _Mapping]] = ..., gain_kept: _Optional[_Union[Interval, _Mapping]] = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("mean", "low", "high")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    mean: float
    low: float
    high: float
    def __init__(self, mean: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class ProfileEarlyExitRequest(_message.Message):
    __slots__ = ("request_id", "model", "text")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    text: TextSelection
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., text: _Optional[_Union[TextSelection, _Mapping]] = ...) -> None: ...

class ProfileEarlyExitResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class ProfileEarlyExitResult(_message.Message):
    __slots__ = ("profile", "layers", "oracle_saving", "suitability", "head_cost_layers", "tokens", "prompts", "classes", "rules", "oracle_net_saving")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    ORACLE_SAVING_FIELD_NUMBER: _ClassVar[int]
    SUITABILITY_FIELD_NUMBER: _ClassVar[int]
    HEAD_COST_LAYERS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    ORACLE_NET_SAVING_FIELD_NUMBER: _ClassVar[int]
    profile: str
    layers: _containers.RepeatedCompositeFieldContainer[ExitLayer]
    oracle_saving: float
    suitability: Suitability
    head_cost_layers: float
    tokens: int
    prompts: int
    classes: _containers.RepeatedCompositeFieldContainer[TokenClass]
    rules: _containers.RepeatedCompositeFieldContainer[RuleCurve]
    oracle_net_saving: float
    def __init__(self, profile: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[ExitLayer, _Mapping]]] = ..., oracle_saving: _Optional[float] = ..., suitability: _Optional[_Union[Suitability, _Mapping]] = ..., head_cost_layers: _Optional[float] = ..., tokens: _Optional[int] = ..., prompts: _Optional[int] = ..., classes: _Optional[_Iterable[_Union[TokenClass, _Mapping]]] = ..., rules: _Optional[_Iterable[_Union[RuleCurve, _Mapping]]] = ..., oracle_net_saving: _Optional[float] = ...) -> None: ...

class TokenClass(_message.Message):
    __slots__ = ("name", "tokens", "agreement")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    tokens: int
    agreement: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., tokens: _Optional[int] = ..., agreement: _Optional[_Iterable[float]] = ...) -> None: ...

class RuleCurve(_message.Message):
    __slots__ = ("rule", "thresholds", "agreement", "gross_saving", "net_saving")
    RULE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    GROSS_SAVING_FIELD_NUMBER: _ClassVar[int]
    NET_SAVING_FIELD_NUMBER: _ClassVar[int]
    rule: ExitRule
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    agreement: _containers.RepeatedScalarFieldContainer[float]
    gross_saving: _containers.RepeatedScalarFieldContainer[float]
    net_saving: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, rule: _Optional[_Union[ExitRule, str]] = ..., thresholds: _Optional[_Iterable[float]] = ..., agreement: _Optional[_Iterable[float]] = ..., gross_saving: _Optional[_Iterable[float]] = ..., net_saving: _Optional[_Iterable[float]] = ...) -> None: ...

class ExitLayer(_message.Message):
    __slots__ = ("layer", "agreement", "saturated", "previous_cosine", "final_cosine", "divergence_nats")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    SATURATED_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_COSINE_FIELD_NUMBER: _ClassVar[int]
    FINAL_COSINE_FIELD_NUMBER: _ClassVar[int]
    DIVERGENCE_NATS_FIELD_NUMBER: _ClassVar[int]
    layer: int
    agreement: float
    saturated: float
    previous_cosine: float
    final_cosine: float
    divergence_nats: float
    def __init__(self, layer: _Optional[int] = ..., agreement: _Optional[float] = ..., saturated: _Optional[float] = ..., previous_cosine: _Optional[float] = ..., final_cosine: _Optional[float] = ..., divergence_nats: _Optional[float] = ...) -> None: ...

class Suitability(_message.Message):
    __slots__ = ("rule", "threshold", "gross_saving", "net_saving", "disagreement", "disagreement_bound", "tokens", "p_by_prompt")
    RULE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    GROSS_SAVING_FIELD_NUMBER: _ClassVar[int]
    NET_SAVING_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_BOUND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    P_BY_PROMPT_FIELD_NUMBER: _ClassVar[int]
    rule: ExitRule
    threshold: float
    gross_saving: float
    net_saving: float
    disagreement: float
    disagreement_bound: float
    tokens: int
    p_by_prompt: float
    def __init__(self, rule: _Optional[_Union[ExitRule, str]] = ..., threshold: _Optional[float] = ..., gross_saving: _Optional[float] = ..., net_saving: _Optional[float] = ..., disagreement: _Optional[float] = ..., disagreement_bound: _Optional[float] = ..., tokens: _Optional[int] = ..., p_by_prompt: _Optional[float] = ...) -> None: ...

class CalibrateEarlyExitRequest(_message.Message):
    __slots__ = ("request_id", "model", "text", "epsilon", "delta", "exit_layers", "rule", "skip_tokens", "sparse")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    EXIT_LAYERS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    SKIP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    text: TextSelection
    epsilon: float
    delta: float
    exit_layers: _containers.RepeatedScalarFieldContainer[int]
    rule: ExitRule
    skip_tokens: int
    sparse: SparseConfig
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., text: _Optional[_Union[TextSelection, _Mapping]] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., exit_layers: _Optional[_Iterable[int]] = ..., rule: _Optional[_Union[ExitRule, str]] = ..., skip_tokens: _Optional[int] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ...) -> None: ...

class CalibrateEarlyExitResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class CalibrateEarlyExitResult(_message.Message):
    __slots__ = ("calibration", "rule", "threshold", "exit_layers", "epsilon", "delta", "risk", "gross_saving", "net_saving", "plug_in_saving", "prompts", "certified", "sparse")
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    EXIT_LAYERS_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    RISK_FIELD_NUMBER: _ClassVar[int]
    GROSS_SAVING_FIELD_NUMBER: _ClassVar[int]
    NET_SAVING_FIELD_NUMBER: _ClassVar[int]
    PLUG_IN_SAVING_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    CERTIFIED_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    calibration: str
    rule: ExitRule
    threshold: float
    exit_layers: _containers.RepeatedScalarFieldContainer[int]
    epsilon: float
    delta: float
    risk: float
    gross_saving: float
    net_saving: float
    plug_in_saving: float
    prompts: int
    certified: bool
    sparse: SparseConfig
    def __init__(self, calibration: _Optional[str] = ..., rule: _Optional[_Union[ExitRule, str]] = ..., threshold: _Optional[float] = ..., exit_layers: _Optional[_Iterable[int]] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., risk: _Optional[float] = ..., gross_saving: _Optional[float] = ..., net_saving: _Optional[float] = ..., plug_in_saving: _Optional[float] = ..., prompts: _Optional[int] = ..., certified: _Optional[bool] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ...) -> None: ...

class BenchmarkAttentionRequest(_message.Message):
    __slots__ = ("request_id", "phase", "device", "length", "batch", "query_heads", "kv_heads", "head_dim", "dtype", "rounds", "sparse")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    QUERY_HEADS_FIELD_NUMBER: _ClassVar[int]
    KV_HEADS_FIELD_NUMBER: _ClassVar[int]
    HEAD_DIM_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    phase: AttentionPhase
    device: str
    length: int
    batch: int
    query_heads: int
    kv_heads: int
    head_dim: int
    dtype: str
    rounds: int
    sparse: SparseConfig
    def __init__(self, request_id: _Optional[str] = ..., phase: _Optional[_Union[AttentionPhase, str]] = ..., device: _Optional[str] = ..., length: _Optional[int] = ..., batch: _Optional[int] = ..., query_heads: _Optional[int] = ..., kv_heads: _Optional[int] = ..., head_dim: _Optional[int] = ..., dtype: _Optional[str] = ..., rounds: _Optional[int] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ...) -> None: ...

class BenchmarkAttentionResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class BenchmarkAttentionResult(_message.Message):
    __slots__ = ("phase", "dense_ms", "sparse_ms", "selection_ms", "ratio", "ratio_low", "ratio_high", "density", "baseline", "dtype", "device", "dense_tflops", "paths_ms", "length", "rounds", "versions")
    class PathsMsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DENSE_MS_FIELD_NUMBER: _ClassVar[int]
    SPARSE_MS_FIELD_NUMBER: _ClassVar[int]
    SELECTION_MS_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    RATIO_LOW_FIELD_NUMBER: _ClassVar[int]
    RATIO_HIGH_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DENSE_TFLOPS_FIELD_NUMBER: _ClassVar[int]
    PATHS_MS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    phase: AttentionPhase
    dense_ms: float
    sparse_ms: float
    selection_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    density: float
    baseline: str
    dtype: str
    device: str
    dense_tflops: float
    paths_ms: _containers.ScalarMap[str, float]
    length: int
    rounds: int
    versions: _containers.ScalarMap[str, str]
    def __init__(self, phase: _Optional[_Union[AttentionPhase, str]] = ..., dense_ms: _Optional[float] = ..., sparse_ms: _Optional[float] = ..., selection_ms: _Optional[float] = ..., ratio: _Optional[float] = ..., ratio_low: _Optional[float] = ..., ratio_high: _Optional[float] = ..., density: _Optional[float] = ..., baseline: _Optional[str] = ..., dtype: _Optional[str] = ..., device: _Optional[str] = ..., dense_tflops: _Optional[float] = ..., paths_ms: _Optional[_Mapping[str, float]] = ..., length: _Optional[int] = ..., rounds: _Optional[int] = ..., versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class InspectSelectionRequest(_message.Message):
    __slots__ = ("request_id", "model", "text", "sparse")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    text: TextSelection
    sparse: SparseConfig
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., text: _Optional[_Union[TextSelection, _Mapping]] = ..., sparse: _Optional[_Union[SparseConfig, _Mapping]] = ...) -> None: ...

class InspectSelectionResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class InspectSelectionResult(_message.Message):
    __slots__ = ("selection", "layers", "density", "tokens", "block_size")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_SIZE_FIELD_NUMBER: _ClassVar[int]
    selection: str
    layers: _containers.RepeatedCompositeFieldContainer[LayerSelection]
    density: float
    tokens: int
    block_size: int
    def __init__(self, selection: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[LayerSelection, _Mapping]]] = ..., density: _Optional[float] = ..., tokens: _Optional[int] = ..., block_size: _Optional[int] = ...) -> None: ...

class LayerSelection(_message.Message):
    __slots__ = ("layer", "density", "fallback", "mass", "oracle_mass", "query_blocks")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    MASS_FIELD_NUMBER: _ClassVar[int]
    ORACLE_MASS_FIELD_NUMBER: _ClassVar[int]
    QUERY_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    layer: int
    density: float
    fallback: str
    mass: float
    oracle_mass: float
    query_blocks: _containers.RepeatedCompositeFieldContainer[QueryBlock]
    def __init__(self, layer: _Optional[int] = ..., density: _Optional[float] = ..., fallback: _Optional[str] = ..., mass: _Optional[float] = ..., oracle_mass: _Optional[float] = ..., query_blocks: _Optional[_Iterable[_Union[QueryBlock, _Mapping]]] = ...) -> None: ...

class QueryBlock(_message.Message):
    __slots__ = ("key_blocks",)
    KEY_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    key_blocks: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, key_blocks: _Optional[_Iterable[int]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "loaded_bytes", "budget_bytes")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LOADED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    loaded_bytes: int
    budget_bytes: int
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., loaded_bytes: _Optional[int] = ..., budget_bytes: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("model", "labels", "loaded", "model_type", "bytes", "layers", "vocabulary", "context_tokens", "cache_bytes_per_token", "chat_template")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    MODEL_TYPE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_BYTES_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CHAT_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    model: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    loaded: bool
    model_type: str
    bytes: int
    layers: int
    vocabulary: int
    context_tokens: int
    cache_bytes_per_token: int
    chat_template: bool
    def __init__(self, model: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., loaded: _Optional[bool] = ..., model_type: _Optional[str] = ..., bytes: _Optional[int] = ..., layers: _Optional[int] = ..., vocabulary: _Optional[int] = ..., context_tokens: _Optional[int] = ..., cache_bytes_per_token: _Optional[int] = ..., chat_template: _Optional[bool] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ("unloaded",)
    UNLOADED_FIELD_NUMBER: _ClassVar[int]
    unloaded: bool
    def __init__(self, unloaded: _Optional[bool] = ...) -> None: ...
