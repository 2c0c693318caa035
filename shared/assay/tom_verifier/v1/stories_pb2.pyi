from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SemanticsProfile(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEMANTICS_PROFILE_UNSPECIFIED: _ClassVar[SemanticsProfile]
    SEMANTICS_PROFILE_HITOM: _ClassVar[SemanticsProfile]
    SEMANTICS_PROFILE_COMMON_KNOWLEDGE: _ClassVar[SemanticsProfile]

class BeliefEngine(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BELIEF_ENGINE_UNSPECIFIED: _ClassVar[BeliefEngine]
    BELIEF_ENGINE_TABLE: _ClassVar[BeliefEngine]
    BELIEF_ENGINE_DEL: _ClassVar[BeliefEngine]
SEMANTICS_PROFILE_UNSPECIFIED: SemanticsProfile
SEMANTICS_PROFILE_HITOM: SemanticsProfile
SEMANTICS_PROFILE_COMMON_KNOWLEDGE: SemanticsProfile
BELIEF_ENGINE_UNSPECIFIED: BeliefEngine
BELIEF_ENGINE_TABLE: BeliefEngine
BELIEF_ENGINE_DEL: BeliefEngine

class BeliefChain(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, agents: _Optional[_Iterable[str]] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("thing", "chain")
    THING_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    thing: str
    chain: BeliefChain
    def __init__(self, thing: _Optional[str] = ..., chain: _Optional[_Union[BeliefChain, _Mapping]] = ...) -> None: ...

class AskedQuestion(_message.Message):
    __slots__ = ("text", "question")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    text: str
    question: Question
    def __init__(self, text: _Optional[str] = ..., question: _Optional[_Union[Question, _Mapping]] = ...) -> None: ...

class Belief(_message.Message):
    __slots__ = ("container", "rule", "line")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    container: str
    rule: str
    line: int
    def __init__(self, container: _Optional[str] = ..., rule: _Optional[str] = ..., line: _Optional[int] = ...) -> None: ...

class Enter(_message.Message):
    __slots__ = ("agents", "place")
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedScalarFieldContainer[str]
    place: str
    def __init__(self, agents: _Optional[_Iterable[str]] = ..., place: _Optional[str] = ...) -> None: ...

class Exit(_message.Message):
    __slots__ = ("agents", "place")
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedScalarFieldContainer[str]
    place: str
    def __init__(self, agents: _Optional[_Iterable[str]] = ..., place: _Optional[str] = ...) -> None: ...

class Locate(_message.Message):
    __slots__ = ("thing", "container")
    THING_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    thing: str
    container: str
    def __init__(self, thing: _Optional[str] = ..., container: _Optional[str] = ...) -> None: ...

class Move(_message.Message):
    __slots__ = ("agent", "thing", "container")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    THING_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    agent: str
    thing: str
    container: str
    def __init__(self, agent: _Optional[str] = ..., thing: _Optional[str] = ..., container: _Optional[str] = ...) -> None: ...

class Stay(_message.Message):
    __slots__ = ("agent", "place")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    agent: str
    place: str
    def __init__(self, agent: _Optional[str] = ..., place: _Optional[str] = ...) -> None: ...

class PublicClaim(_message.Message):
    __slots__ = ("speaker", "thing", "container")
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    THING_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    speaker: str
    thing: str
    container: str
    def __init__(self, speaker: _Optional[str] = ..., thing: _Optional[str] = ..., container: _Optional[str] = ...) -> None: ...

class PrivateClaim(_message.Message):
    __slots__ = ("speaker", "listener", "thing", "container")
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    THING_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    speaker: str
    listener: str
    thing: str
    container: str
    def __init__(self, speaker: _Optional[str] = ..., listener: _Optional[str] = ..., thing: _Optional[str] = ..., container: _Optional[str] = ...) -> None: ...

class Noise(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("enter", "exit", "locate", "move", "stay", "public_claim", "private_claim", "noise")
    ENTER_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    LOCATE_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    STAY_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_CLAIM_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_CLAIM_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    enter: Enter
    exit: Exit
    locate: Locate
    move: Move
    stay: Stay
    public_claim: PublicClaim
    private_claim: PrivateClaim
    noise: Noise
    def __init__(self, enter: _Optional[_Union[Enter, _Mapping]] = ..., exit: _Optional[_Union[Exit, _Mapping]] = ..., locate: _Optional[_Union[Locate, _Mapping]] = ..., move: _Optional[_Union[Move, _Mapping]] = ..., stay: _Optional[_Union[Stay, _Mapping]] = ..., public_claim: _Optional[_Union[PublicClaim, _Mapping]] = ..., private_claim: _Optional[_Union[PrivateClaim, _Mapping]] = ..., noise: _Optional[_Union[Noise, _Mapping]] = ...) -> None: ...

class StoryLine(_message.Message):
    __slots__ = ("number", "text", "event")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    number: int
    text: str
    event: Event
    def __init__(self, number: _Optional[int] = ..., text: _Optional[str] = ..., event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class Story(_message.Message):
    __slots__ = ("lines", "agents", "things")
    LINES_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    THINGS_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[StoryLine]
    agents: _containers.RepeatedScalarFieldContainer[str]
    things: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lines: _Optional[_Iterable[_Union[StoryLine, _Mapping]]] = ..., agents: _Optional[_Iterable[str]] = ..., things: _Optional[_Iterable[str]] = ...) -> None: ...

class RefusedLine(_message.Message):
    __slots__ = ("number", "text", "reason")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    number: int
    text: str
    reason: str
    def __init__(self, number: _Optional[int] = ..., text: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ParseStoryRequest(_message.Message):
    __slots__ = ("story", "lenient")
    STORY_FIELD_NUMBER: _ClassVar[int]
    LENIENT_FIELD_NUMBER: _ClassVar[int]
    story: str
    lenient: bool
    def __init__(self, story: _Optional[str] = ..., lenient: _Optional[bool] = ...) -> None: ...

class ParseStoryResponse(_message.Message):
    __slots__ = ("story", "refused")
    STORY_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    story: Story
    refused: _containers.RepeatedCompositeFieldContainer[RefusedLine]
    def __init__(self, story: _Optional[_Union[Story, _Mapping]] = ..., refused: _Optional[_Iterable[_Union[RefusedLine, _Mapping]]] = ...) -> None: ...

class SimulateRequest(_message.Message):
    __slots__ = ("story", "chains", "max_order", "things", "profile", "engine")
    STORY_FIELD_NUMBER: _ClassVar[int]
    CHAINS_FIELD_NUMBER: _ClassVar[int]
    MAX_ORDER_FIELD_NUMBER: _ClassVar[int]
    THINGS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    story: str
    chains: _containers.RepeatedCompositeFieldContainer[BeliefChain]
    max_order: int
    things: _containers.RepeatedScalarFieldContainer[str]
    profile: SemanticsProfile
    engine: BeliefEngine
    def __init__(self, story: _Optional[str] = ..., chains: _Optional[_Iterable[_Union[BeliefChain, _Mapping]]] = ..., max_order: _Optional[int] = ..., things: _Optional[_Iterable[str]] = ..., profile: _Optional[_Union[SemanticsProfile, str]] = ..., engine: _Optional[_Union[BeliefEngine, str]] = ...) -> None: ...

class SimulateResponse(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: SimulatedStep
    def __init__(self, step: _Optional[_Union[SimulatedStep, _Mapping]] = ...) -> None: ...

class SimulatedStep(_message.Message):
    __slots__ = ("line", "beliefs")
    LINE_FIELD_NUMBER: _ClassVar[int]
    BELIEFS_FIELD_NUMBER: _ClassVar[int]
    line: StoryLine
    beliefs: _containers.RepeatedCompositeFieldContainer[ChainBelief]
    def __init__(self, line: _Optional[_Union[StoryLine, _Mapping]] = ..., beliefs: _Optional[_Iterable[_Union[ChainBelief, _Mapping]]] = ...) -> None: ...

class ChainBelief(_message.Message):
    __slots__ = ("thing", "chain", "belief")
    THING_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    BELIEF_FIELD_NUMBER: _ClassVar[int]
    thing: str
    chain: BeliefChain
    belief: Belief
    def __init__(self, thing: _Optional[str] = ..., chain: _Optional[_Union[BeliefChain, _Mapping]] = ..., belief: _Optional[_Union[Belief, _Mapping]] = ...) -> None: ...

class AnswerQuestionRequest(_message.Message):
    __slots__ = ("story", "question", "profile", "engine", "step_index")
    STORY_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    STEP_INDEX_FIELD_NUMBER: _ClassVar[int]
    story: str
    question: AskedQuestion
    profile: SemanticsProfile
    engine: BeliefEngine
    step_index: int
    def __init__(self, story: _Optional[str] = ..., question: _Optional[_Union[AskedQuestion, _Mapping]] = ..., profile: _Optional[_Union[SemanticsProfile, str]] = ..., engine: _Optional[_Union[BeliefEngine, str]] = ..., step_index: _Optional[int] = ...) -> None: ...

class AnswerQuestionResponse(_message.Message):
    __slots__ = ("belief", "question", "derivation")
    BELIEF_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    DERIVATION_FIELD_NUMBER: _ClassVar[int]
    belief: Belief
    question: Question
    derivation: _containers.RepeatedCompositeFieldContainer[Belief]
    def __init__(self, belief: _Optional[_Union[Belief, _Mapping]] = ..., question: _Optional[_Union[Question, _Mapping]] = ..., derivation: _Optional[_Iterable[_Union[Belief, _Mapping]]] = ...) -> None: ...

class GenerateStoriesRequest(_message.Message):
    __slots__ = ("count", "seed", "length", "claims", "noise", "profile")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    count: int
    seed: int
    length: int
    claims: bool
    noise: float
    profile: SemanticsProfile
    def __init__(self, count: _Optional[int] = ..., seed: _Optional[int] = ..., length: _Optional[int] = ..., claims: _Optional[bool] = ..., noise: _Optional[float] = ..., profile: _Optional[_Union[SemanticsProfile, str]] = ...) -> None: ...

class GenerateStoriesResponse(_message.Message):
    __slots__ = ("story",)
    STORY_FIELD_NUMBER: _ClassVar[int]
    story: GeneratedStory
    def __init__(self, story: _Optional[_Union[GeneratedStory, _Mapping]] = ...) -> None: ...

class GeneratedStory(_message.Message):
    __slots__ = ("index", "text", "questions")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    index: int
    text: str
    questions: _containers.RepeatedCompositeFieldContainer[GeneratedQuestion]
    def __init__(self, index: _Optional[int] = ..., text: _Optional[str] = ..., questions: _Optional[_Iterable[_Union[GeneratedQuestion, _Mapping]]] = ...) -> None: ...

class GeneratedQuestion(_message.Message):
    __slots__ = ("text", "question", "answer")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    text: str
    question: Question
    answer: Belief
    def __init__(self, text: _Optional[str] = ..., question: _Optional[_Union[Question, _Mapping]] = ..., answer: _Optional[_Union[Belief, _Mapping]] = ...) -> None: ...

class DrawStoryRequest(_message.Message):
    __slots__ = ("story", "thing", "max_order", "chains", "profile")
    STORY_FIELD_NUMBER: _ClassVar[int]
    THING_FIELD_NUMBER: _ClassVar[int]
    MAX_ORDER_FIELD_NUMBER: _ClassVar[int]
    CHAINS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    story: str
    thing: str
    max_order: int
    chains: _containers.RepeatedCompositeFieldContainer[BeliefChain]
    profile: SemanticsProfile
    def __init__(self, story: _Optional[str] = ..., thing: _Optional[str] = ..., max_order: _Optional[int] = ..., chains: _Optional[_Iterable[_Union[BeliefChain, _Mapping]]] = ..., profile: _Optional[_Union[SemanticsProfile, str]] = ...) -> None: ...

class DrawStoryResponse(_message.Message):
    __slots__ = ("timeline", "models")
    TIMELINE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    timeline: bytes
    models: bytes
    def __init__(self, timeline: _Optional[bytes] = ..., models: _Optional[bytes] = ...) -> None: ...
