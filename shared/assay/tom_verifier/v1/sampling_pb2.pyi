from assay.tom_verifier.v1 import stories_pb2 as _stories_pb2
from assay.tom_verifier.v1 import traces_pb2 as _traces_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TraceGenerator(_message.Message):
    __slots__ = ("artifact", "hosted")
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    HOSTED_FIELD_NUMBER: _ClassVar[int]
    artifact: str
    hosted: str
    def __init__(self, artifact: _Optional[str] = ..., hosted: _Optional[str] = ...) -> None: ...

class SampleTracesRequest(_message.Message):
    __slots__ = ("generator", "story", "question", "samples", "temperature", "seed", "max_tokens")
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    STORY_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    generator: TraceGenerator
    story: str
    question: _stories_pb2.AskedQuestion
    samples: int
    temperature: float
    seed: int
    max_tokens: int
    def __init__(self, generator: _Optional[_Union[TraceGenerator, _Mapping]] = ..., story: _Optional[str] = ..., question: _Optional[_Union[_stories_pb2.AskedQuestion, _Mapping]] = ..., samples: _Optional[int] = ..., temperature: _Optional[float] = ..., seed: _Optional[int] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class SampleTracesResponse(_message.Message):
    __slots__ = ("index", "text", "trace", "refused", "cut")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    index: int
    text: str
    trace: _traces_pb2.Trace
    refused: str
    cut: bool
    def __init__(self, index: _Optional[int] = ..., text: _Optional[str] = ..., trace: _Optional[_Union[_traces_pb2.Trace, _Mapping]] = ..., refused: _Optional[str] = ..., cut: _Optional[bool] = ...) -> None: ...
