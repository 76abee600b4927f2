"""The plugin API: all that an engine, a store or an observer needs to import. It defines nothing."""

from tokengrpc.core.clock import Clock
from tokengrpc.core.model import Capability, Delta, EngineFinish, FinishReason, UsageReport
from tokengrpc.core.ports.engine import (
    Checkable,
    Continuation,
    Engine,
    LateUsage,
    TellsLateUsage,
    Tokenizer,
)
from tokengrpc.core.ports.ledger import LedgerEntry, UsageLedger
from tokengrpc.core.ports.log import EventEncoder, EventLog, EventLogs, Record
from tokengrpc.core.ports.observer import Observer
from tokengrpc.core.request import GenerationRequest

__all__ = [
    "Capability",
    "Checkable",
    "Clock",
    "Continuation",
    "Delta",
    "Engine",
    "EngineFinish",
    "EventEncoder",
    "EventLog",
    "EventLogs",
    "FinishReason",
    "GenerationRequest",
    "LateUsage",
    "LedgerEntry",
    "Observer",
    "Record",
    "TellsLateUsage",
    "Tokenizer",
    "UsageLedger",
    "UsageReport",
]
