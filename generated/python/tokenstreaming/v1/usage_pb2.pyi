from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UsageSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_SOURCE_UNSPECIFIED: _ClassVar[UsageSource]
    USAGE_SOURCE_ENGINE: _ClassVar[UsageSource]
    USAGE_SOURCE_COUNTED: _ClassVar[UsageSource]
    USAGE_SOURCE_ESTIMATED: _ClassVar[UsageSource]
USAGE_SOURCE_UNSPECIFIED: UsageSource
USAGE_SOURCE_ENGINE: UsageSource
USAGE_SOURCE_COUNTED: UsageSource
USAGE_SOURCE_ESTIMATED: UsageSource

class Usage(_message.Message):
    __slots__ = ("input_token_count", "output_token_count", "cached_input_token_count", "cache_write_input_token_count", "reasoning_token_count", "overhead_token_count", "source")
    INPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_INPUT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    OVERHEAD_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    input_token_count: int
    output_token_count: int
    cached_input_token_count: int
    cache_write_input_token_count: int
    reasoning_token_count: int
    overhead_token_count: int
    source: UsageSource
    def __init__(self, input_token_count: _Optional[int] = ..., output_token_count: _Optional[int] = ..., cached_input_token_count: _Optional[int] = ..., cache_write_input_token_count: _Optional[int] = ..., reasoning_token_count: _Optional[int] = ..., overhead_token_count: _Optional[int] = ..., source: _Optional[_Union[UsageSource, str]] = ...) -> None: ...

class Cost(_message.Message):
    __slots__ = ("amount_micros", "currency", "price_version")
    AMOUNT_MICROS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    PRICE_VERSION_FIELD_NUMBER: _ClassVar[int]
    amount_micros: int
    currency: str
    price_version: str
    def __init__(self, amount_micros: _Optional[int] = ..., currency: _Optional[str] = ..., price_version: _Optional[str] = ...) -> None: ...
