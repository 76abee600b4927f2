import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from tokenstreaming.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_MEMORY: _ClassVar[Durability]
    DURABILITY_REPLICATED: _ClassVar[Durability]
    DURABILITY_FSYNCED: _ClassVar[Durability]

class GenerationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GENERATION_STATE_UNSPECIFIED: _ClassVar[GenerationState]
    GENERATION_STATE_QUEUED: _ClassVar[GenerationState]
    GENERATION_STATE_PREFILLING: _ClassVar[GenerationState]
    GENERATION_STATE_GENERATING: _ClassVar[GenerationState]
    GENERATION_STATE_SUCCEEDED: _ClassVar[GenerationState]
    GENERATION_STATE_FAILED: _ClassVar[GenerationState]
    GENERATION_STATE_CANCELLED: _ClassVar[GenerationState]

class ContinuationMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONTINUATION_METHOD_UNSPECIFIED: _ClassVar[ContinuationMethod]
    CONTINUATION_METHOD_TOKEN_IDS: _ClassVar[ContinuationMethod]
    CONTINUATION_METHOD_TEXT_PREFILL: _ClassVar[ContinuationMethod]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_END: _ClassVar[FinishReason]
    FINISH_REASON_STOP_SEQUENCE: _ClassVar[FinishReason]
    FINISH_REASON_MAX_TOKENS: _ClassVar[FinishReason]
    FINISH_REASON_CONTEXT_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_TOOL_CALLS: _ClassVar[FinishReason]
    FINISH_REASON_CONTENT_FILTER: _ClassVar[FinishReason]
    FINISH_REASON_REFUSAL: _ClassVar[FinishReason]
    FINISH_REASON_TIME_LIMIT: _ClassVar[FinishReason]
    FINISH_REASON_DEADLINE: _ClassVar[FinishReason]
    FINISH_REASON_OTHER: _ClassVar[FinishReason]
    FINISH_REASON_CANCELLED: _ClassVar[FinishReason]
    FINISH_REASON_ERROR: _ClassVar[FinishReason]

class RetryAdvice(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRY_ADVICE_UNSPECIFIED: _ClassVar[RetryAdvice]
    RETRY_ADVICE_RESUME: _ClassVar[RetryAdvice]
    RETRY_ADVICE_RETRY: _ClassVar[RetryAdvice]
    RETRY_ADVICE_NEVER: _ClassVar[RetryAdvice]
DURABILITY_UNSPECIFIED: Durability
DURABILITY_MEMORY: Durability
DURABILITY_REPLICATED: Durability
DURABILITY_FSYNCED: Durability
GENERATION_STATE_UNSPECIFIED: GenerationState
GENERATION_STATE_QUEUED: GenerationState
GENERATION_STATE_PREFILLING: GenerationState
GENERATION_STATE_GENERATING: GenerationState
GENERATION_STATE_SUCCEEDED: GenerationState
GENERATION_STATE_FAILED: GenerationState
GENERATION_STATE_CANCELLED: GenerationState
CONTINUATION_METHOD_UNSPECIFIED: ContinuationMethod
CONTINUATION_METHOD_TOKEN_IDS: ContinuationMethod
CONTINUATION_METHOD_TEXT_PREFILL: ContinuationMethod
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_END: FinishReason
FINISH_REASON_STOP_SEQUENCE: FinishReason
FINISH_REASON_MAX_TOKENS: FinishReason
FINISH_REASON_CONTEXT_LENGTH: FinishReason
FINISH_REASON_TOOL_CALLS: FinishReason
FINISH_REASON_CONTENT_FILTER: FinishReason
FINISH_REASON_REFUSAL: FinishReason
FINISH_REASON_TIME_LIMIT: FinishReason
FINISH_REASON_DEADLINE: FinishReason
FINISH_REASON_OTHER: FinishReason
FINISH_REASON_CANCELLED: FinishReason
FINISH_REASON_ERROR: FinishReason
RETRY_ADVICE_UNSPECIFIED: RetryAdvice
RETRY_ADVICE_RESUME: RetryAdvice
RETRY_ADVICE_RETRY: RetryAdvice
RETRY_ADVICE_NEVER: RetryAdvice

class Generation(_message.Message):
    __slots__ = ("generation_id", "model", "state", "usage", "first_kept_sequence", "last_sequence", "reader_count", "create_time", "start_time", "first_token_time", "end_time", "labels", "finished", "engine", "log_incarnation", "durability", "server", "attempts")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FIRST_KEPT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    READER_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    LOG_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    generation_id: str
    model: str
    state: GenerationState
    usage: _usage_pb2.Usage
    first_kept_sequence: int
    last_sequence: int
    reader_count: int
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    first_token_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    finished: Finished
    engine: str
    log_incarnation: str
    durability: Durability
    server: str
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    def __init__(self, generation_id: _Optional[str] = ..., model: _Optional[str] = ..., state: _Optional[_Union[GenerationState, str]] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., first_kept_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., reader_count: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., first_token_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., engine: _Optional[str] = ..., log_incarnation: _Optional[str] = ..., durability: _Optional[_Union[Durability, str]] = ..., server: _Optional[str] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("engine", "server", "start_time", "end_time", "output_token_count", "error_reason", "response_id")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_REASON_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    engine: str
    server: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    output_token_count: int
    error_reason: str
    response_id: str
    def __init__(self, engine: _Optional[str] = ..., server: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., output_token_count: _Optional[int] = ..., error_reason: _Optional[str] = ..., response_id: _Optional[str] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("index", "count", "text", "reasoning_text", "refusal_text", "emit_time", "id", "logprob", "top_logprobs", "raw_bytes", "reasoning_opaque")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REASONING_TEXT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_TEXT_FIELD_NUMBER: _ClassVar[int]
    EMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    RAW_BYTES_FIELD_NUMBER: _ClassVar[int]
    REASONING_OPAQUE_FIELD_NUMBER: _ClassVar[int]
    index: int
    count: int
    text: str
    reasoning_text: str
    refusal_text: str
    emit_time: _timestamp_pb2.Timestamp
    id: int
    logprob: float
    top_logprobs: _containers.RepeatedCompositeFieldContainer[TopLogprob]
    raw_bytes: bytes
    reasoning_opaque: bytes
    def __init__(self, index: _Optional[int] = ..., count: _Optional[int] = ..., text: _Optional[str] = ..., reasoning_text: _Optional[str] = ..., refusal_text: _Optional[str] = ..., emit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., id: _Optional[int] = ..., logprob: _Optional[float] = ..., top_logprobs: _Optional[_Iterable[_Union[TopLogprob, _Mapping]]] = ..., raw_bytes: _Optional[bytes] = ..., reasoning_opaque: _Optional[bytes] = ...) -> None: ...

class TopLogprob(_message.Message):
    __slots__ = ("text", "logprob", "id", "raw_bytes")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    RAW_BYTES_FIELD_NUMBER: _ClassVar[int]
    text: str
    logprob: float
    id: int
    raw_bytes: bytes
    def __init__(self, text: _Optional[str] = ..., logprob: _Optional[float] = ..., id: _Optional[int] = ..., raw_bytes: _Optional[bytes] = ...) -> None: ...

class ToolCallFragment(_message.Message):
    __slots__ = ("call_index", "id", "function_name", "arguments_fragment", "opaque")
    CALL_INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FRAGMENT_FIELD_NUMBER: _ClassVar[int]
    OPAQUE_FIELD_NUMBER: _ClassVar[int]
    call_index: int
    id: str
    function_name: str
    arguments_fragment: str
    opaque: bytes
    def __init__(self, call_index: _Optional[int] = ..., id: _Optional[str] = ..., function_name: _Optional[str] = ..., arguments_fragment: _Optional[str] = ..., opaque: _Optional[bytes] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("generation_id", "model", "engine", "start_time", "log_incarnation", "durability")
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    LOG_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    generation_id: str
    model: str
    engine: str
    start_time: _timestamp_pb2.Timestamp
    log_incarnation: str
    durability: Durability
    def __init__(self, generation_id: _Optional[str] = ..., model: _Optional[str] = ..., engine: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., log_incarnation: _Optional[str] = ..., durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class EngineSwitched(_message.Message):
    __slots__ = ("from_engine", "to_engine", "reason", "continuation_method")
    FROM_ENGINE_FIELD_NUMBER: _ClassVar[int]
    TO_ENGINE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONTINUATION_METHOD_FIELD_NUMBER: _ClassVar[int]
    from_engine: str
    to_engine: str
    reason: str
    continuation_method: ContinuationMethod
    def __init__(self, from_engine: _Optional[str] = ..., to_engine: _Optional[str] = ..., reason: _Optional[str] = ..., continuation_method: _Optional[_Union[ContinuationMethod, str]] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("finish_reason", "engine_finish_reason", "matched_stop_sequence", "status", "timing", "cost")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    MATCHED_STOP_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    finish_reason: FinishReason
    engine_finish_reason: str
    matched_stop_sequence: str
    status: _status_pb2.Status
    timing: Timing
    cost: _usage_pb2.Cost
    def __init__(self, finish_reason: _Optional[_Union[FinishReason, str]] = ..., engine_finish_reason: _Optional[str] = ..., matched_stop_sequence: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., cost: _Optional[_Union[_usage_pb2.Cost, _Mapping]] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("queue_duration", "time_to_first_token", "total_duration")
    QUEUE_DURATION_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_DURATION_FIELD_NUMBER: _ClassVar[int]
    queue_duration: _duration_pb2.Duration
    time_to_first_token: _duration_pb2.Duration
    total_duration: _duration_pb2.Duration
    def __init__(self, queue_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., time_to_first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Attached(_message.Message):
    __slots__ = ("state", "last_sequence", "log_incarnation")
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LOG_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    state: GenerationState
    last_sequence: int
    log_incarnation: str
    def __init__(self, state: _Optional[_Union[GenerationState, str]] = ..., last_sequence: _Optional[int] = ..., log_incarnation: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("state", "queue_position")
    STATE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    state: GenerationState
    queue_position: int
    def __init__(self, state: _Optional[_Union[GenerationState, str]] = ..., queue_position: _Optional[int] = ...) -> None: ...

class DrainNotice(_message.Message):
    __slots__ = ("deadline_time",)
    DEADLINE_TIME_FIELD_NUMBER: _ClassVar[int]
    deadline_time: _timestamp_pb2.Timestamp
    def __init__(self, deadline_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GenerationFailure(_message.Message):
    __slots__ = ("generation_id", "last_sequence", "usage", "retry_advice", "ended")
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_ADVICE_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    generation_id: str
    last_sequence: int
    usage: _usage_pb2.Usage
    retry_advice: RetryAdvice
    ended: bool
    def __init__(self, generation_id: _Optional[str] = ..., last_sequence: _Optional[int] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., retry_advice: _Optional[_Union[RetryAdvice, str]] = ..., ended: _Optional[bool] = ...) -> None: ...
