"""A real server with a scripted engine, for tests of programs that call tokengrpc.

with serve("It is sunny.") as server:
...  # call server.target with any client
"""

from tokengrpc.extras import require

require("server", "tokengrpc.testing")

from tokengrpc.core.model import UsageReport  # noqa: E402 - says first what is missing
from tokengrpc.testing.replies import Hold, Pause, Reasoning, Refusal, Reply, ToolCall  # noqa: E402
from tokengrpc.testing.server import ScriptedServer, serve  # noqa: E402

__all__ = [
    "Hold",
    "Pause",
    "Reasoning",
    "Refusal",
    "Reply",
    "ScriptedServer",
    "ToolCall",
    "UsageReport",
    "serve",
]
