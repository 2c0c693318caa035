from assay.tom_verifier.v1 import verifier_pb2 as _verifier_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProbeModelStep(_message.Message):
    __slots__ = ("model", "seed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    model: str
    seed: int
    def __init__(self, model: _Optional[str] = ..., seed: _Optional[int] = ...) -> None: ...

class ProbeModelReply(_message.Message):
    __slots__ = ("probe", "model")
    PROBE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    probe: str
    model: str
    def __init__(self, probe: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class WriteSectionStep(_message.Message):
    __slots__ = ("model", "probe")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    model: str
    probe: str
    def __init__(self, model: _Optional[str] = ..., probe: _Optional[str] = ...) -> None: ...

class StoredPart(_message.Message):
    __slots__ = ("artifact",)
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    artifact: str
    def __init__(self, artifact: _Optional[str] = ...) -> None: ...

class TrainGeneratorStep(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: _verifier_pb2.TrainPbmRequest
    def __init__(self, request: _Optional[_Union[_verifier_pb2.TrainPbmRequest, _Mapping]] = ...) -> None: ...

class TrainVerifierStep(_message.Message):
    __slots__ = ("request", "generator")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    request: _verifier_pb2.TrainPbmRequest
    generator: str
    def __init__(self, request: _Optional[_Union[_verifier_pb2.TrainPbmRequest, _Mapping]] = ..., generator: _Optional[str] = ...) -> None: ...

class MeasureVerifierStep(_message.Message):
    __slots__ = ("request", "generator", "verifier")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    request: _verifier_pb2.TrainPbmRequest
    generator: str
    verifier: str
    def __init__(self, request: _Optional[_Union[_verifier_pb2.TrainPbmRequest, _Mapping]] = ..., generator: _Optional[str] = ..., verifier: _Optional[str] = ...) -> None: ...

class ResolveStep(_message.Message):
    __slots__ = ("model", "text")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: str
    def __init__(self, model: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Resolved(_message.Message):
    __slots__ = ("model", "text")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: str
    def __init__(self, model: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...
