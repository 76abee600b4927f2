"""Tables between enums of the domain and of the contract, paired by name."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tokenstreaming.v1 import (
    admin_service_pb2,
    generation_pb2,
    input_pb2,
    model_pb2,
    usage_pb2,
    usage_service_pb2,
)

from tokengrpc.core.model import (
    Capability,
    ContinuationMethod,
    Durability,
    FinishReason,
    State,
    UsageSource,
)
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import EntryKind, TimeUnit
from tokengrpc.core.tenant import Period, Priority, Scope
from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

_E = TypeVar("_E", bound=Enum)


class EnumTable(Generic[_E]):
    """Table of one enum in both directions: `there` from the domain to the contract, `back` the other way."""

    def __init__(self, ours: type[_E], theirs: _EnumTypeWrapper[Any], prefix: str) -> None:
        # Any, because each protobuf stub requires the type of its own enum.
        self.there: dict[_E, Any] = {member: theirs.Value(f"{prefix}_{member.name}") for member in ours}
        self.back: dict[int, _E] = {number: member for member, number in self.there.items()}


STATES = EnumTable(State, generation_pb2.GenerationState, "GENERATION_STATE")
FINISH_REASONS = EnumTable(FinishReason, generation_pb2.FinishReason, "FINISH_REASON")
ADVICE = EnumTable(Advice, generation_pb2.RetryAdvice, "RETRY_ADVICE")
SOURCES = EnumTable(UsageSource, usage_pb2.UsageSource, "USAGE_SOURCE")
METHODS = EnumTable(ContinuationMethod, generation_pb2.ContinuationMethod, "CONTINUATION_METHOD")
DURABILITIES = EnumTable(Durability, generation_pb2.Durability, "DURABILITY")
CAPABILITIES = EnumTable(Capability, model_pb2.Capability, "CAPABILITY")
RECORD_STATES = EnumTable(RecordState, usage_service_pb2.UsageRecordState, "USAGE_RECORD_STATE")
ENTRY_KINDS = EnumTable(EntryKind, usage_service_pb2.UsageEntryKind, "USAGE_ENTRY_KIND")
PRIORITIES = EnumTable(Priority, input_pb2.Priority, "PRIORITY")
TIME_UNITS = EnumTable(TimeUnit, usage_service_pb2.UsageTimeUnit, "USAGE_TIME_UNIT")
SCOPES = EnumTable(Scope, admin_service_pb2.Scope, "SCOPE")
PERIODS = EnumTable(Period, admin_service_pb2.BudgetPeriod, "BUDGET_PERIOD")
