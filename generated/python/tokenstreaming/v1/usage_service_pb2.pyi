import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tokenstreaming.v1 import generation_pb2 as _generation_pb2
from tokenstreaming.v1 import input_pb2 as _input_pb2
from tokenstreaming.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UsageRecordState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_RECORD_STATE_UNSPECIFIED: _ClassVar[UsageRecordState]
    USAGE_RECORD_STATE_OPEN: _ClassVar[UsageRecordState]
    USAGE_RECORD_STATE_CLOSED: _ClassVar[UsageRecordState]
    USAGE_RECORD_STATE_LOST: _ClassVar[UsageRecordState]

class UsageDimension(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_DIMENSION_UNSPECIFIED: _ClassVar[UsageDimension]
    USAGE_DIMENSION_TENANT: _ClassVar[UsageDimension]
    USAGE_DIMENSION_MODEL: _ClassVar[UsageDimension]
    USAGE_DIMENSION_LABEL: _ClassVar[UsageDimension]
    USAGE_DIMENSION_TIME: _ClassVar[UsageDimension]

class UsageTimeUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_TIME_UNIT_UNSPECIFIED: _ClassVar[UsageTimeUnit]
    USAGE_TIME_UNIT_HOUR: _ClassVar[UsageTimeUnit]
    USAGE_TIME_UNIT_DAY: _ClassVar[UsageTimeUnit]
    USAGE_TIME_UNIT_MONTH: _ClassVar[UsageTimeUnit]

class UsageEntryKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_ENTRY_KIND_UNSPECIFIED: _ClassVar[UsageEntryKind]
    USAGE_ENTRY_KIND_BEGIN: _ClassVar[UsageEntryKind]
    USAGE_ENTRY_KIND_FINISH: _ClassVar[UsageEntryKind]
    USAGE_ENTRY_KIND_SETTLE: _ClassVar[UsageEntryKind]
    USAGE_ENTRY_KIND_LOST: _ClassVar[UsageEntryKind]
    USAGE_ENTRY_KIND_ADJUST: _ClassVar[UsageEntryKind]
USAGE_RECORD_STATE_UNSPECIFIED: UsageRecordState
USAGE_RECORD_STATE_OPEN: UsageRecordState
USAGE_RECORD_STATE_CLOSED: UsageRecordState
USAGE_RECORD_STATE_LOST: UsageRecordState
USAGE_DIMENSION_UNSPECIFIED: UsageDimension
USAGE_DIMENSION_TENANT: UsageDimension
USAGE_DIMENSION_MODEL: UsageDimension
USAGE_DIMENSION_LABEL: UsageDimension
USAGE_DIMENSION_TIME: UsageDimension
USAGE_TIME_UNIT_UNSPECIFIED: UsageTimeUnit
USAGE_TIME_UNIT_HOUR: UsageTimeUnit
USAGE_TIME_UNIT_DAY: UsageTimeUnit
USAGE_TIME_UNIT_MONTH: UsageTimeUnit
USAGE_ENTRY_KIND_UNSPECIFIED: UsageEntryKind
USAGE_ENTRY_KIND_BEGIN: UsageEntryKind
USAGE_ENTRY_KIND_FINISH: UsageEntryKind
USAGE_ENTRY_KIND_SETTLE: UsageEntryKind
USAGE_ENTRY_KIND_LOST: UsageEntryKind
USAGE_ENTRY_KIND_ADJUST: UsageEntryKind

class UsageRecord(_message.Message):
    __slots__ = ("record_id", "generation_id", "tenant", "model", "usage", "state", "finish_reason", "error_reason", "create_time", "end_time", "labels", "settled_usage", "attempts", "server", "session_id", "first_token_time", "event_byte_count", "last_delivered_sequence", "cost", "priority")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_REASON_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SETTLED_USAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_DELIVERED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    generation_id: str
    tenant: str
    model: str
    usage: _usage_pb2.Usage
    state: UsageRecordState
    finish_reason: _generation_pb2.FinishReason
    error_reason: str
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    settled_usage: _usage_pb2.Usage
    attempts: _containers.RepeatedCompositeFieldContainer[_generation_pb2.Attempt]
    server: str
    session_id: str
    first_token_time: _timestamp_pb2.Timestamp
    event_byte_count: int
    last_delivered_sequence: int
    cost: _usage_pb2.Cost
    priority: _input_pb2.Priority
    def __init__(self, record_id: _Optional[str] = ..., generation_id: _Optional[str] = ..., tenant: _Optional[str] = ..., model: _Optional[str] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., state: _Optional[_Union[UsageRecordState, str]] = ..., finish_reason: _Optional[_Union[_generation_pb2.FinishReason, str]] = ..., error_reason: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., settled_usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[_generation_pb2.Attempt, _Mapping]]] = ..., server: _Optional[str] = ..., session_id: _Optional[str] = ..., first_token_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event_byte_count: _Optional[int] = ..., last_delivered_sequence: _Optional[int] = ..., cost: _Optional[_Union[_usage_pb2.Cost, _Mapping]] = ..., priority: _Optional[_Union[_input_pb2.Priority, str]] = ...) -> None: ...

class UsageFilter(_message.Message):
    __slots__ = ("tenant", "model", "labels", "start_time", "end_time", "generation_id")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    labels: _containers.ScalarMap[str, str]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    generation_id: str
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., generation_id: _Optional[str] = ...) -> None: ...

class ListUsageRecordsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: UsageFilter
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[UsageFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListUsageRecordsResponse(_message.Message):
    __slots__ = ("usage_records", "next_page_token")
    USAGE_RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    usage_records: _containers.RepeatedCompositeFieldContainer[UsageRecord]
    next_page_token: str
    def __init__(self, usage_records: _Optional[_Iterable[_Union[UsageRecord, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SummarizeUsageRequest(_message.Message):
    __slots__ = ("filter", "group_by", "label_key", "bucket_duration", "bucket_unit", "time_zone")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    LABEL_KEY_FIELD_NUMBER: _ClassVar[int]
    BUCKET_DURATION_FIELD_NUMBER: _ClassVar[int]
    BUCKET_UNIT_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    filter: UsageFilter
    group_by: _containers.RepeatedScalarFieldContainer[UsageDimension]
    label_key: str
    bucket_duration: _duration_pb2.Duration
    bucket_unit: UsageTimeUnit
    time_zone: str
    def __init__(self, filter: _Optional[_Union[UsageFilter, _Mapping]] = ..., group_by: _Optional[_Iterable[_Union[UsageDimension, str]]] = ..., label_key: _Optional[str] = ..., bucket_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., bucket_unit: _Optional[_Union[UsageTimeUnit, str]] = ..., time_zone: _Optional[str] = ...) -> None: ...

class SummarizeUsageResponse(_message.Message):
    __slots__ = ("summaries",)
    SUMMARIES_FIELD_NUMBER: _ClassVar[int]
    summaries: _containers.RepeatedCompositeFieldContainer[UsageSummary]
    def __init__(self, summaries: _Optional[_Iterable[_Union[UsageSummary, _Mapping]]] = ...) -> None: ...

class UsageSummary(_message.Message):
    __slots__ = ("tenant", "model", "label_value", "bucket_start_time", "generation_count", "input_token_count", "output_token_count", "cached_input_token_count", "cache_write_input_token_count", "reasoning_token_count", "overhead_token_count", "source", "lost_generation_count", "costs")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LABEL_VALUE_FIELD_NUMBER: _ClassVar[int]
    BUCKET_START_TIME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_INPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    OVERHEAD_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LOST_GENERATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    label_value: str
    bucket_start_time: _timestamp_pb2.Timestamp
    generation_count: int
    input_token_count: int
    output_token_count: int
    cached_input_token_count: int
    cache_write_input_token_count: int
    reasoning_token_count: int
    overhead_token_count: int
    source: _usage_pb2.UsageSource
    lost_generation_count: int
    costs: _containers.RepeatedCompositeFieldContainer[_usage_pb2.Cost]
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., label_value: _Optional[str] = ..., bucket_start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., generation_count: _Optional[int] = ..., input_token_count: _Optional[int] = ..., output_token_count: _Optional[int] = ..., cached_input_token_count: _Optional[int] = ..., cache_write_input_token_count: _Optional[int] = ..., reasoning_token_count: _Optional[int] = ..., overhead_token_count: _Optional[int] = ..., source: _Optional[_Union[_usage_pb2.UsageSource, str]] = ..., lost_generation_count: _Optional[int] = ..., costs: _Optional[_Iterable[_Union[_usage_pb2.Cost, _Mapping]]] = ...) -> None: ...

class ListUsageEntriesRequest(_message.Message):
    __slots__ = ("after_sequence", "page_size", "tenant")
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    after_sequence: int
    page_size: int
    tenant: str
    def __init__(self, after_sequence: _Optional[int] = ..., page_size: _Optional[int] = ..., tenant: _Optional[str] = ...) -> None: ...

class ListUsageEntriesResponse(_message.Message):
    __slots__ = ("usage_entries", "last_sequence")
    USAGE_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    usage_entries: _containers.RepeatedCompositeFieldContainer[UsageEntry]
    last_sequence: int
    def __init__(self, usage_entries: _Optional[_Iterable[_Union[UsageEntry, _Mapping]]] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class UsageEntry(_message.Message):
    __slots__ = ("sequence", "kind", "entry_time", "usage_record", "previous_usage", "previous_cost")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENTRY_TIME_FIELD_NUMBER: _ClassVar[int]
    USAGE_RECORD_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_USAGE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_COST_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    kind: UsageEntryKind
    entry_time: _timestamp_pb2.Timestamp
    usage_record: UsageRecord
    previous_usage: _usage_pb2.Usage
    previous_cost: _usage_pb2.Cost
    def __init__(self, sequence: _Optional[int] = ..., kind: _Optional[_Union[UsageEntryKind, str]] = ..., entry_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., usage_record: _Optional[_Union[UsageRecord, _Mapping]] = ..., previous_usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., previous_cost: _Optional[_Union[_usage_pb2.Cost, _Mapping]] = ...) -> None: ...
