from assay.tom_verifier.v1 import stories_pb2 as _stories_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StepLabelMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_LABEL_MODE_UNSPECIFIED: _ClassVar[StepLabelMode]
    STEP_LABEL_MODE_PREFIX: _ClassVar[StepLabelMode]
    STEP_LABEL_MODE_STEP: _ClassVar[StepLabelMode]
STEP_LABEL_MODE_UNSPECIFIED: StepLabelMode
STEP_LABEL_MODE_PREFIX: StepLabelMode
STEP_LABEL_MODE_STEP: StepLabelMode

class TraceStep(_message.Message):
    __slots__ = ("text", "claim")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    text: str
    claim: str
    def __init__(self, text: _Optional[str] = ..., claim: _Optional[str] = ...) -> None: ...

class Trace(_message.Message):
    __slots__ = ("steps", "answer")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[TraceStep]
    answer: str
    def __init__(self, steps: _Optional[_Iterable[_Union[TraceStep, _Mapping]]] = ..., answer: _Optional[str] = ...) -> None: ...

class GivenTrace(_message.Message):
    __slots__ = ("text", "trace")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    text: str
    trace: Trace
    def __init__(self, text: _Optional[str] = ..., trace: _Optional[_Union[Trace, _Mapping]] = ...) -> None: ...

class CheckTraceRequest(_message.Message):
    __slots__ = ("story", "question", "trace", "mode", "profile")
    STORY_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    story: str
    question: _stories_pb2.AskedQuestion
    trace: GivenTrace
    mode: StepLabelMode
    profile: _stories_pb2.SemanticsProfile
    def __init__(self, story: _Optional[str] = ..., question: _Optional[_Union[_stories_pb2.AskedQuestion, _Mapping]] = ..., trace: _Optional[_Union[GivenTrace, _Mapping]] = ..., mode: _Optional[_Union[StepLabelMode, str]] = ..., profile: _Optional[_Union[_stories_pb2.SemanticsProfile, str]] = ...) -> None: ...

class CheckTraceResponse(_message.Message):
    __slots__ = ("steps", "answer_right", "expected_answer", "trace")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_RIGHT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ANSWER_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[StepVerdict]
    answer_right: bool
    expected_answer: _stories_pb2.Belief
    trace: Trace
    def __init__(self, steps: _Optional[_Iterable[_Union[StepVerdict, _Mapping]]] = ..., answer_right: _Optional[bool] = ..., expected_answer: _Optional[_Union[_stories_pb2.Belief, _Mapping]] = ..., trace: _Optional[_Union[Trace, _Mapping]] = ...) -> None: ...

class StepVerdict(_message.Message):
    __slots__ = ("right", "claim", "expected")
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    right: bool
    claim: str
    expected: _stories_pb2.Belief
    def __init__(self, right: _Optional[bool] = ..., claim: _Optional[str] = ..., expected: _Optional[_Union[_stories_pb2.Belief, _Mapping]] = ...) -> None: ...

class LabelledRow(_message.Message):
    __slots__ = ("id", "story", "question", "published_answer", "group")
    ID_FIELD_NUMBER: _ClassVar[int]
    STORY_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_ANSWER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    id: str
    story: str
    question: str
    published_answer: str
    group: str
    def __init__(self, id: _Optional[str] = ..., story: _Optional[str] = ..., question: _Optional[str] = ..., published_answer: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("rows", "profile")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[LabelledRow]
    profile: _stories_pb2.SemanticsProfile
    def __init__(self, rows: _Optional[_Iterable[_Union[LabelledRow, _Mapping]]] = ..., profile: _Optional[_Union[_stories_pb2.SemanticsProfile, str]] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("total", "agree", "unparsed", "groups", "rows")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    AGREE_FIELD_NUMBER: _ClassVar[int]
    UNPARSED_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    total: int
    agree: int
    unparsed: int
    groups: _containers.RepeatedCompositeFieldContainer[GroupAgreement]
    rows: _containers.RepeatedCompositeFieldContainer[RowVerdict]
    def __init__(self, total: _Optional[int] = ..., agree: _Optional[int] = ..., unparsed: _Optional[int] = ..., groups: _Optional[_Iterable[_Union[GroupAgreement, _Mapping]]] = ..., rows: _Optional[_Iterable[_Union[RowVerdict, _Mapping]]] = ...) -> None: ...

class GroupAgreement(_message.Message):
    __slots__ = ("group", "total", "agree", "unparsed")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    AGREE_FIELD_NUMBER: _ClassVar[int]
    UNPARSED_FIELD_NUMBER: _ClassVar[int]
    group: str
    total: int
    agree: int
    unparsed: int
    def __init__(self, group: _Optional[str] = ..., total: _Optional[int] = ..., agree: _Optional[int] = ..., unparsed: _Optional[int] = ...) -> None: ...

class RowVerdict(_message.Message):
    __slots__ = ("id", "answer", "agrees", "refused")
    ID_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    AGREES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    id: str
    answer: str
    agrees: bool
    refused: str
    def __init__(self, id: _Optional[str] = ..., answer: _Optional[str] = ..., agrees: _Optional[bool] = ..., refused: _Optional[str] = ...) -> None: ...

class AuditRequest(_message.Message):
    __slots__ = ("rows", "profile")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[LabelledRow]
    profile: _stories_pb2.SemanticsProfile
    def __init__(self, rows: _Optional[_Iterable[_Union[LabelledRow, _Mapping]]] = ..., profile: _Optional[_Union[_stories_pb2.SemanticsProfile, str]] = ...) -> None: ...

class AuditResponse(_message.Message):
    __slots__ = ("audited", "unparsed", "contradicted")
    AUDITED_FIELD_NUMBER: _ClassVar[int]
    UNPARSED_FIELD_NUMBER: _ClassVar[int]
    CONTRADICTED_FIELD_NUMBER: _ClassVar[int]
    audited: int
    unparsed: int
    contradicted: _containers.RepeatedCompositeFieldContainer[ContradictedRow]
    def __init__(self, audited: _Optional[int] = ..., unparsed: _Optional[int] = ..., contradicted: _Optional[_Iterable[_Union[ContradictedRow, _Mapping]]] = ...) -> None: ...

class ContradictedRow(_message.Message):
    __slots__ = ("id", "published_answer", "answer", "derivation", "remark")
    ID_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_ANSWER_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    DERIVATION_FIELD_NUMBER: _ClassVar[int]
    REMARK_FIELD_NUMBER: _ClassVar[int]
    id: str
    published_answer: str
    answer: str
    derivation: _containers.RepeatedCompositeFieldContainer[_stories_pb2.Belief]
    remark: str
    def __init__(self, id: _Optional[str] = ..., published_answer: _Optional[str] = ..., answer: _Optional[str] = ..., derivation: _Optional[_Iterable[_Union[_stories_pb2.Belief, _Mapping]]] = ..., remark: _Optional[str] = ...) -> None: ...
