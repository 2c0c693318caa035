from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

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
