import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from tokenstreaming.v1 import generation_pb2 as _generation_pb2
from tokenstreaming.v1 import input_pb2 as _input_pb2
from tokenstreaming.v1 import model_pb2 as _model_pb2
from tokenstreaming.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StreamTokensRequest(_message.Message):
    __slots__ = ("generation_id", "model", "prompt", "conversation", "prompt_token_ids", "max_output_token_count", "sampling", "reasoning", "output", "tools", "tool_choice", "output_constraint", "limits", "recovery", "engine_params", "labels", "session_id", "priority", "flush_interval")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    REASONING_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_CONSTRAINT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_FIELD_NUMBER: _ClassVar[int]
    ENGINE_PARAMS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    FLUSH_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    generation_id: str
    model: str
    prompt: str
    conversation: _input_pb2.Conversation
    prompt_token_ids: _input_pb2.TokenIds
    max_output_token_count: int
    sampling: _input_pb2.Sampling
    reasoning: _input_pb2.Reasoning
    output: _input_pb2.OutputOptions
    tools: _containers.RepeatedCompositeFieldContainer[_input_pb2.Tool]
    tool_choice: _input_pb2.ToolChoice
    output_constraint: _input_pb2.OutputConstraint
    limits: _input_pb2.Limits
    recovery: _input_pb2.Recovery
    engine_params: _struct_pb2.Struct
    labels: _containers.ScalarMap[str, str]
    session_id: str
    priority: _input_pb2.Priority
    flush_interval: _duration_pb2.Duration
    def __init__(self, generation_id: _Optional[str] = ..., model: _Optional[str] = ..., prompt: _Optional[str] = ..., conversation: _Optional[_Union[_input_pb2.Conversation, _Mapping]] = ..., prompt_token_ids: _Optional[_Union[_input_pb2.TokenIds, _Mapping]] = ..., max_output_token_count: _Optional[int] = ..., sampling: _Optional[_Union[_input_pb2.Sampling, _Mapping]] = ..., reasoning: _Optional[_Union[_input_pb2.Reasoning, _Mapping]] = ..., output: _Optional[_Union[_input_pb2.OutputOptions, _Mapping]] = ..., tools: _Optional[_Iterable[_Union[_input_pb2.Tool, _Mapping]]] = ..., tool_choice: _Optional[_Union[_input_pb2.ToolChoice, _Mapping]] = ..., output_constraint: _Optional[_Union[_input_pb2.OutputConstraint, _Mapping]] = ..., limits: _Optional[_Union[_input_pb2.Limits, _Mapping]] = ..., recovery: _Optional[_Union[_input_pb2.Recovery, _Mapping]] = ..., engine_params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., session_id: _Optional[str] = ..., priority: _Optional[_Union[_input_pb2.Priority, str]] = ..., flush_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StreamTokensResponse(_message.Message):
    __slots__ = ("sequence", "tokens", "tool_call_fragments", "usage", "started", "engine_switched", "finished", "attached", "heartbeat", "drain_notice", "output_checksum")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_FRAGMENTS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ENGINE_SWITCHED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_NOTICE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    tokens: _containers.RepeatedCompositeFieldContainer[_generation_pb2.Token]
    tool_call_fragments: _containers.RepeatedCompositeFieldContainer[_generation_pb2.ToolCallFragment]
    usage: _usage_pb2.Usage
    started: _generation_pb2.Started
    engine_switched: _generation_pb2.EngineSwitched
    finished: _generation_pb2.Finished
    attached: _generation_pb2.Attached
    heartbeat: _generation_pb2.Heartbeat
    drain_notice: _generation_pb2.DrainNotice
    output_checksum: int
    def __init__(self, sequence: _Optional[int] = ..., tokens: _Optional[_Iterable[_Union[_generation_pb2.Token, _Mapping]]] = ..., tool_call_fragments: _Optional[_Iterable[_Union[_generation_pb2.ToolCallFragment, _Mapping]]] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., started: _Optional[_Union[_generation_pb2.Started, _Mapping]] = ..., engine_switched: _Optional[_Union[_generation_pb2.EngineSwitched, _Mapping]] = ..., finished: _Optional[_Union[_generation_pb2.Finished, _Mapping]] = ..., attached: _Optional[_Union[_generation_pb2.Attached, _Mapping]] = ..., heartbeat: _Optional[_Union[_generation_pb2.Heartbeat, _Mapping]] = ..., drain_notice: _Optional[_Union[_generation_pb2.DrainNotice, _Mapping]] = ..., output_checksum: _Optional[int] = ...) -> None: ...

class ResumeTokensRequest(_message.Message):
    __slots__ = ("generation_id", "after_sequence", "log_incarnation", "output_checksum", "flush_interval")
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LOG_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    FLUSH_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    generation_id: str
    after_sequence: int
    log_incarnation: str
    output_checksum: int
    flush_interval: _duration_pb2.Duration
    def __init__(self, generation_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., log_incarnation: _Optional[str] = ..., output_checksum: _Optional[int] = ..., flush_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GenerateTextRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: StreamTokensRequest
    def __init__(self, request: _Optional[_Union[StreamTokensRequest, _Mapping]] = ...) -> None: ...

class GenerateTextResponse(_message.Message):
    __slots__ = ("text", "reasoning_text", "refusal_text", "tool_calls", "generation", "reasoning_parts")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REASONING_TEXT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_TEXT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REASONING_PARTS_FIELD_NUMBER: _ClassVar[int]
    text: str
    reasoning_text: str
    refusal_text: str
    tool_calls: _containers.RepeatedCompositeFieldContainer[_input_pb2.ToolCall]
    generation: _generation_pb2.Generation
    reasoning_parts: _containers.RepeatedCompositeFieldContainer[_input_pb2.ReasoningPart]
    def __init__(self, text: _Optional[str] = ..., reasoning_text: _Optional[str] = ..., refusal_text: _Optional[str] = ..., tool_calls: _Optional[_Iterable[_Union[_input_pb2.ToolCall, _Mapping]]] = ..., generation: _Optional[_Union[_generation_pb2.Generation, _Mapping]] = ..., reasoning_parts: _Optional[_Iterable[_Union[_input_pb2.ReasoningPart, _Mapping]]] = ...) -> None: ...

class CancelGenerationRequest(_message.Message):
    __slots__ = ("generation_id",)
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    generation_id: str
    def __init__(self, generation_id: _Optional[str] = ...) -> None: ...

class CancelGenerationResponse(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: _generation_pb2.Generation
    def __init__(self, generation: _Optional[_Union[_generation_pb2.Generation, _Mapping]] = ...) -> None: ...

class GetGenerationRequest(_message.Message):
    __slots__ = ("generation_id",)
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    generation_id: str
    def __init__(self, generation_id: _Optional[str] = ...) -> None: ...

class GetGenerationResponse(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: _generation_pb2.Generation
    def __init__(self, generation: _Optional[_Union[_generation_pb2.Generation, _Mapping]] = ...) -> None: ...

class CountTokensRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: StreamTokensRequest
    def __init__(self, request: _Optional[_Union[StreamTokensRequest, _Mapping]] = ...) -> None: ...

class CountTokensResponse(_message.Message):
    __slots__ = ("input_token_count", "source", "model")
    INPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    input_token_count: int
    source: _usage_pb2.UsageSource
    model: str
    def __init__(self, input_token_count: _Optional[int] = ..., source: _Optional[_Union[_usage_pb2.UsageSource, str]] = ..., model: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[_model_pb2.Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[_model_pb2.Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
