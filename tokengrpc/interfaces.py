"""The plugin API: all names that an engine, a store or another plugin imports. It defines nothing itself.

Errors to raise are in `tokengrpc.errors`.
"""

from tokengrpc.core.clock import Clock
from tokengrpc.core.model import (
    Capability,
    Delta,
    EngineFinish,
    FinishReason,
    GenerationKey,
    State,
    ToolCallFragment,
    TopLogprob,
    Usage,
    UsageReport,
    UsageSource,
)
from tokengrpc.core.ports.auth import Authenticator, Peer
from tokengrpc.core.ports.budget import Budget, Grant
from tokengrpc.core.ports.engine import (
    Checkable,
    Continuation,
    Engine,
    LateUsage,
    ReportedLoad,
    ReportsLateUsage,
    ReportsLoad,
    SharesTokenIds,
    Tokenizer,
)
from tokengrpc.core.ports.ledger import Spill, SpilledCall, UsageLedger, UsageRecord
from tokengrpc.core.ports.log import (
    AppendOutcome,
    AppendStatus,
    EventEncoder,
    EventSink,
    LogClaim,
    Record,
    joinable_run,
)
from tokengrpc.core.ports.observer import (
    AttemptEnded,
    BreakerChanged,
    FirstToken,
    GenerationAdmitted,
    GenerationEnded,
    GenerationStarted,
    Observer,
    ObserverEvent,
    StoreStateChanged,
    SubscriptionEnded,
    TokensRelayed,
)
from tokengrpc.core.request import GenerationRequest
from tokengrpc.core.tenant import Identity, Tenant

__all__ = [
    "AppendOutcome",
    "AppendStatus",
    "AttemptEnded",
    "Authenticator",
    "BreakerChanged",
    "Budget",
    "Capability",
    "Checkable",
    "Clock",
    "Continuation",
    "Delta",
    "Engine",
    "EngineFinish",
    "EventEncoder",
    "EventSink",
    "FinishReason",
    "FirstToken",
    "GenerationAdmitted",
    "GenerationEnded",
    "GenerationKey",
    "GenerationRequest",
    "GenerationStarted",
    "Grant",
    "Identity",
    "LateUsage",
    "LogClaim",
    "Observer",
    "ObserverEvent",
    "Peer",
    "Record",
    "ReportedLoad",
    "ReportsLateUsage",
    "ReportsLoad",
    "SharesTokenIds",
    "Spill",
    "SpilledCall",
    "State",
    "StoreStateChanged",
    "SubscriptionEnded",
    "Tenant",
    "Tokenizer",
    "TokensRelayed",
    "ToolCallFragment",
    "TopLogprob",
    "Usage",
    "UsageLedger",
    "UsageRecord",
    "UsageReport",
    "UsageSource",
    "joinable_run",
]
