from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListServicesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListServicesResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServedService]
    def __init__(self, services: _Optional[_Iterable[_Union[ServedService, _Mapping]]] = ...) -> None: ...

class ServedService(_message.Message):
    __slots__ = ("name", "full_name", "examines")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FULL_NAME_FIELD_NUMBER: _ClassVar[int]
    EXAMINES_FIELD_NUMBER: _ClassVar[int]
    name: str
    full_name: str
    examines: bool
    def __init__(self, name: _Optional[str] = ..., full_name: _Optional[str] = ..., examines: _Optional[bool] = ...) -> None: ...

class ExamineRequest(_message.Message):
    __slots__ = ("request_id", "service", "model", "text")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    service: str
    model: str
    text: str
    def __init__(self, request_id: _Optional[str] = ..., service: _Optional[str] = ..., model: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class ExamineResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operations_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ...) -> None: ...

class ExamineResult(_message.Message):
    __slots__ = ("section",)
    SECTION_FIELD_NUMBER: _ClassVar[int]
    section: str
    def __init__(self, section: _Optional[str] = ...) -> None: ...
