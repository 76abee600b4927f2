from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EngineHealth(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENGINE_HEALTH_UNSPECIFIED: _ClassVar[EngineHealth]
    ENGINE_HEALTH_HEALTHY: _ClassVar[EngineHealth]
    ENGINE_HEALTH_UNHEALTHY: _ClassVar[EngineHealth]

class Capability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAPABILITY_UNSPECIFIED: _ClassVar[Capability]
    CAPABILITY_PROMPT: _ClassVar[Capability]
    CAPABILITY_CONVERSATION: _ClassVar[Capability]
    CAPABILITY_PROMPT_TOKEN_IDS: _ClassVar[Capability]
    CAPABILITY_TOOLS: _ClassVar[Capability]
    CAPABILITY_IMAGES: _ClassVar[Capability]
    CAPABILITY_REASONING: _ClassVar[Capability]
    CAPABILITY_LOGPROBS: _ClassVar[Capability]
    CAPABILITY_TOKEN_IDS: _ClassVar[Capability]
    CAPABILITY_RAW_BYTES: _ClassVar[Capability]
    CAPABILITY_JSON_SCHEMA: _ClassVar[Capability]
    CAPABILITY_REGEX: _ClassVar[Capability]
    CAPABILITY_GRAMMAR: _ClassVar[Capability]
    CAPABILITY_CHOICES: _ClassVar[Capability]
    CAPABILITY_CONTINUE_TOKEN_IDS: _ClassVar[Capability]
    CAPABILITY_CONTINUE_TEXT: _ClassVar[Capability]
ENGINE_HEALTH_UNSPECIFIED: EngineHealth
ENGINE_HEALTH_HEALTHY: EngineHealth
ENGINE_HEALTH_UNHEALTHY: EngineHealth
CAPABILITY_UNSPECIFIED: Capability
CAPABILITY_PROMPT: Capability
CAPABILITY_CONVERSATION: Capability
CAPABILITY_PROMPT_TOKEN_IDS: Capability
CAPABILITY_TOOLS: Capability
CAPABILITY_IMAGES: Capability
CAPABILITY_REASONING: Capability
CAPABILITY_LOGPROBS: Capability
CAPABILITY_TOKEN_IDS: Capability
CAPABILITY_RAW_BYTES: Capability
CAPABILITY_JSON_SCHEMA: Capability
CAPABILITY_REGEX: Capability
CAPABILITY_GRAMMAR: Capability
CAPABILITY_CHOICES: Capability
CAPABILITY_CONTINUE_TOKEN_IDS: Capability
CAPABILITY_CONTINUE_TEXT: Capability

class Model(_message.Message):
    __slots__ = ("name", "is_default", "engines", "context_token_count", "tokenizer", "capabilities")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    is_default: bool
    engines: _containers.RepeatedCompositeFieldContainer[ModelEngine]
    context_token_count: int
    tokenizer: str
    capabilities: _containers.RepeatedScalarFieldContainer[Capability]
    def __init__(self, name: _Optional[str] = ..., is_default: _Optional[bool] = ..., engines: _Optional[_Iterable[_Union[ModelEngine, _Mapping]]] = ..., context_token_count: _Optional[int] = ..., tokenizer: _Optional[str] = ..., capabilities: _Optional[_Iterable[_Union[Capability, str]]] = ...) -> None: ...

class ModelEngine(_message.Message):
    __slots__ = ("name", "kind", "health", "capabilities")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    health: EngineHealth
    capabilities: _containers.RepeatedScalarFieldContainer[Capability]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., health: _Optional[_Union[EngineHealth, str]] = ..., capabilities: _Optional[_Iterable[_Union[Capability, str]]] = ...) -> None: ...
