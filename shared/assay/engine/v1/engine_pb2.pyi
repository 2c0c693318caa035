from google.protobuf import any_pb2 as _any_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StepCall(_message.Message):
    __slots__ = ("step", "deadline_unix_s", "traceparent", "operation_id", "request_id", "model_id")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_UNIX_S_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    step: str
    deadline_unix_s: float
    traceparent: str
    operation_id: str
    request_id: str
    model_id: str
    def __init__(self, step: _Optional[str] = ..., deadline_unix_s: _Optional[float] = ..., traceparent: _Optional[str] = ..., operation_id: _Optional[str] = ..., request_id: _Optional[str] = ..., model_id: _Optional[str] = ...) -> None: ...

class RunStepRequest(_message.Message):
    __slots__ = ("call", "request")
    CALL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    call: StepCall
    request: _any_pb2.Any
    def __init__(self, call: _Optional[_Union[StepCall, _Mapping]] = ..., request: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class RunStepResponse(_message.Message):
    __slots__ = ("status", "reply")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    reply: _any_pb2.Any
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., reply: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class StreamStepRequest(_message.Message):
    __slots__ = ("call", "request")
    CALL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    call: StepCall
    request: _any_pb2.Any
    def __init__(self, call: _Optional[_Union[StepCall, _Mapping]] = ..., request: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class StreamStepResponse(_message.Message):
    __slots__ = ("progress", "reply", "status", "done")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    progress: StepProgress
    reply: _any_pb2.Any
    status: _status_pb2.Status
    done: StepDone
    def __init__(self, progress: _Optional[_Union[StepProgress, _Mapping]] = ..., reply: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., done: _Optional[_Union[StepDone, _Mapping]] = ...) -> None: ...

class StepProgress(_message.Message):
    __slots__ = ("done", "total", "unit", "figures")
    class FiguresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    done: int
    total: int
    unit: str
    figures: _containers.ScalarMap[str, float]
    def __init__(self, done: _Optional[int] = ..., total: _Optional[int] = ..., unit: _Optional[str] = ..., figures: _Optional[_Mapping[str, float]] = ...) -> None: ...

class StepDone(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeEngineRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeEngineResponse(_message.Message):
    __slots__ = ("steps", "device", "versions", "threads")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STEPS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedScalarFieldContainer[str]
    device: str
    versions: _containers.ScalarMap[str, str]
    threads: int
    def __init__(self, steps: _Optional[_Iterable[str]] = ..., device: _Optional[str] = ..., versions: _Optional[_Mapping[str, str]] = ..., threads: _Optional[int] = ...) -> None: ...
