from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EpistemicBackend(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EPISTEMIC_BACKEND_UNSPECIFIED: _ClassVar[EpistemicBackend]
    EPISTEMIC_BACKEND_EXPLICIT: _ClassVar[EpistemicBackend]
    EPISTEMIC_BACKEND_BDD: _ClassVar[EpistemicBackend]
EPISTEMIC_BACKEND_UNSPECIFIED: EpistemicBackend
EPISTEMIC_BACKEND_EXPLICIT: EpistemicBackend
EPISTEMIC_BACKEND_BDD: EpistemicBackend

class ModelSource(_message.Message):
    __slots__ = ("text", "model")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    text: str
    model: str
    def __init__(self, text: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class ModelFacts(_message.Message):
    __slots__ = ("model", "worlds", "agents", "atoms", "text")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WORLDS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    ATOMS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    model: str
    worlds: float
    agents: _containers.RepeatedScalarFieldContainer[str]
    atoms: _containers.RepeatedScalarFieldContainer[str]
    text: str
    def __init__(self, model: _Optional[str] = ..., worlds: _Optional[float] = ..., agents: _Optional[_Iterable[str]] = ..., atoms: _Optional[_Iterable[str]] = ..., text: _Optional[str] = ...) -> None: ...

class CreateModelRequest(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class CreateModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelFacts
    def __init__(self, model: _Optional[_Union[ModelFacts, _Mapping]] = ...) -> None: ...

class UpdateModelRequest(_message.Message):
    __slots__ = ("model", "events")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    model: ModelSource
    events: str
    def __init__(self, model: _Optional[_Union[ModelSource, _Mapping]] = ..., events: _Optional[str] = ...) -> None: ...

class UpdateModelResponse(_message.Message):
    __slots__ = ("model", "product_worlds", "reachable_worlds", "not_serial")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_WORLDS_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_WORLDS_FIELD_NUMBER: _ClassVar[int]
    NOT_SERIAL_FIELD_NUMBER: _ClassVar[int]
    model: ModelFacts
    product_worlds: float
    reachable_worlds: float
    not_serial: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[_Union[ModelFacts, _Mapping]] = ..., product_worlds: _Optional[float] = ..., reachable_worlds: _Optional[float] = ..., not_serial: _Optional[_Iterable[str]] = ...) -> None: ...

class ContractRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelSource
    def __init__(self, model: _Optional[_Union[ModelSource, _Mapping]] = ...) -> None: ...

class ContractResponse(_message.Message):
    __slots__ = ("model", "worlds_before")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WORLDS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    model: ModelFacts
    worlds_before: float
    def __init__(self, model: _Optional[_Union[ModelFacts, _Mapping]] = ..., worlds_before: _Optional[float] = ...) -> None: ...

class Example(_message.Message):
    __slots__ = ("name", "n")
    NAME_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    name: str
    n: int
    def __init__(self, name: _Optional[str] = ..., n: _Optional[int] = ...) -> None: ...

class ModelCheckRequest(_message.Message):
    __slots__ = ("text", "example", "backend", "max_worlds", "model")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    MAX_WORLDS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    text: str
    example: Example
    backend: EpistemicBackend
    max_worlds: int
    model: str
    def __init__(self, text: _Optional[str] = ..., example: _Optional[_Union[Example, _Mapping]] = ..., backend: _Optional[_Union[EpistemicBackend, str]] = ..., max_worlds: _Optional[int] = ..., model: _Optional[str] = ...) -> None: ...

class ModelCheckResponse(_message.Message):
    __slots__ = ("verdicts", "rounds", "seconds", "worlds", "nodes", "text")
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    WORLDS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    rounds: int
    seconds: float
    worlds: float
    nodes: int
    text: str
    def __init__(self, verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., rounds: _Optional[int] = ..., seconds: _Optional[float] = ..., worlds: _Optional[float] = ..., nodes: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("formula", "holds", "line")
    FORMULA_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    formula: str
    holds: bool
    line: int
    def __init__(self, formula: _Optional[str] = ..., holds: _Optional[bool] = ..., line: _Optional[int] = ...) -> None: ...
