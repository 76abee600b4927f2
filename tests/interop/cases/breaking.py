"""Cases 2: broken connections, deadlines, and readers who leave."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

from tests.interop.acts import CancelledElsewhere, Cut, CutInBytes, HoldNetwork, LeadAway, Stalls, Vanish
from tests.interop.cases.reading import END, MANY, WORDS
from tests.interop.expectations import ANYTHING, AtLeast, OneOf, error, notices, told, usage
from tests.interop.stage import Case, Report, Stage, settle
from tests.support.scripted_engine import Text

if TYPE_CHECKING:
    from collections.abc import Callable

ATTACHED = notices(attached=ANYTHING)
WHOLE = {"text": "".join(WORDS), "token_count": 12, "usage": usage(12), "sequence": ANYTHING}
# More than all buffers between server and client hold.
LONG = tuple(f" {number:020000d}" for number in range(600))
TIMEOUT = 2.5
# A margin that a busy machine does not use up: the answer must arrive before the client's own deadline.
DEADLINE = {"timeout_seconds": TIMEOUT, "deadline_margin_seconds": 1}


async def engine_was_left(stage: Stage, report: Report) -> None:
    """Asserts that the engine's connection is closed and that no generation runs."""
    await asyncio.wait_for(stage.engine.calls[0].disconnected.wait(), 20)
    await settle(stage)


async def was_cancelled(stage: Stage, report: Report) -> None:
    """Asserts that the server cancelled the generation, and closed the engine's connection."""
    await engine_was_left(stage, report)
    assert stage.task.generation.state.value == "CANCELLED"


def connected_again(stage: Stage, report: Report) -> None:
    """Asserts that the connection was cut and that another one followed.

    A connection that breaks before HTTP/2 settings have arrived may break before the call is on it. Then a
    gRPC library may put the call on its next connection, and the client has nothing to resume.
    """
    was_cut(stage, report)
    assert stage.proxy.accepted_count > 1


def was_cut(stage: Stage, report: Report) -> None:
    """Asserts that the proxy cut a connection."""
    assert stage.proxy.cut_count


def cut_after(count: int, *, check: Callable[[Stage, Report], None], resumes: AtLeast) -> Case:
    """Returns the case of a connection that breaks after this many bytes."""
    return Case(
        name=f"a drop after {count} byte{'s' if count > 1 else ''}",
        happens=(
            f"The proxy resets the connection after {count} byte{'s' if count > 1 else ''} from the server, "
            "in the middle of a frame."
        ),
        reports="The whole answer after automatic resume: no token lost, none doubled.",
        before=(CutInBytes(count),),
        script=(*(Text(*MANY[i : i + 10]) for i in range(0, 500, 10)), *END),
        expects={
            "text": "".join(MANY[:500]),
            "token_count": 500,
            "usage": usage(500),
            "resumes": resumes,
            "notices": ATTACHED,
        },
        check=check,
    )


BREAKING = (
    Case(
        name="a drop after five tokens",
        happens="The proxy resets the connection when five tokens have been delivered.",
        reports="The whole answer after automatic resume: no token lost, none doubled; one engine call.",
        script=(*(Text(word) for word in WORDS[:5]), Cut(), *(Text(word) for word in WORDS[5:]), *END),
        expects={**WHOLE, "resumes": AtLeast(1), "notices": ATTACHED},
        check=was_cut,
    ),
    Case(
        name="a drop after every second token",
        happens="The proxy resets the connection six times.",
        reports="The same: each new event renews the patience.",
        script=(
            *chain.from_iterable((Text(*WORDS[i : i + 2]), Cut()) for i in range(0, len(WORDS), 2)),
            *END,
        ),
        expects={**WHOLE, "resumes": AtLeast(6), "notices": ATTACHED},
        check=was_cut,
    ),
    cut_after(1, check=connected_again, resumes=AtLeast(0)),
    *(cut_after(count, check=was_cut, resumes=AtLeast(1)) for count in (300, 3_000)),
    Case(
        name="a network that does not come back",
        happens="The connection is reset after two tokens, and new ones are refused.",
        reports=(
            "The text until then, and CONNECTION_LOST with the cursor and advice RESUME once the "
            "patience of 1 s ends."
        ),
        request={"patience_seconds": 1},
        script=(Text("One", " two"), Vanish(), Stalls()),
        expects={
            "text": OneOf("", "One two"),
            "finish_reason": "",
            "error": error("UNAVAILABLE", "CONNECTION_LOST", "RESUME"),
            "resumes": AtLeast(1),
            "notices": ATTACHED,
        },
    ),
    Case(
        name="no server",
        happens="No server listens at the address.",
        reports=(
            "UNAVAILABLE without a reason once the patience of 1 s ends, because the stream has not begun."
        ),
        request={"patience_seconds": 1},
        before=(Vanish(after_delivery=False),),
        expects={
            "finish_reason": "",
            "usage": None,
            "error": error("UNAVAILABLE", "", "", last_sequence=0),
            "resumes": AtLeast(1),
        },
        engine_calls=0,
    ),
    Case(
        name="the generation is lost",
        happens=(
            "The connection is reset after two tokens, and new ones lead to another server that "
            "does not know the generation."
        ),
        reports="The text until then, and GENERATION_LOST with advice RETRY; the client repeats nothing.",
        script=(Text("One", " two"), LeadAway(), Stalls()),
        expects={
            "text": "One two",
            "finish_reason": "",
            "error": error("NOT_FOUND", "GENERATION_LOST", "RETRY"),
            "resumes": AtLeast(1),
            "notices": ATTACHED,
        },
    ),
    Case(
        name="advice RESUME",
        happens="The network delivers nothing until the server ends the stream with READER_TOO_SLOW.",
        reports="12 MB of text after automatic resume: no token lost, none doubled.",
        alone=True,
        limits={"write_stall_timeout": 1.0, "generation_log_bytes": 64 << 20},
        script=(
            Text(LONG[0]),
            HoldNetwork(),
            *(Text(*LONG[i : i + 10]) for i in range(1, len(LONG), 10)),
            *END,
        ),
        expects={
            "text": "".join(LONG),
            "token_count": len(LONG),
            "resumes": AtLeast(1),
            "notices": ATTACHED,
        },
    ),
    Case(
        name="a drop of a stream that is not resumable",
        happens="The same drop after two tokens, of a call with CANCEL.",
        reports=(
            "CONNECTION_LOST with advice RETRY, or gRPC's own UNAVAILABLE if the reset came before the "
            "client had read anything; the engine's connection is closed."
        ),
        request={"resumable": False},
        script=(Text("One", " two"), Cut(), Stalls()),
        expects={
            "text": OneOf("", "One two"),
            "finish_reason": "",
            "error": OneOf(
                error(ANYTHING, "CONNECTION_LOST", "RETRY", message=told("CONNECTION_LOST, not resumable")),
                error("UNAVAILABLE", "", ""),
            ),
        },
        check=engine_was_left,
    ),
    Case(
        name="a deadline that fails",
        happens=f"The engine stalls after two tokens; the caller's timeout is {TIMEOUT:g} s.",
        reports=(
            "The text and usage until then, finish reason DEADLINE, and DEADLINE_EXCEEDED with `ended`."
        ),
        request={**DEADLINE},
        script=(Text("One", " two"), Stalls()),
        expects={
            "text": "One two",
            "finish_reason": "DEADLINE",
            "usage": usage(2),
            "error": error("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "RETRY", ended=True),
        },
        check=engine_was_left,
    ),
    Case(
        name="a deadline with a partial answer",
        happens="The same, with `on_deadline` partial.",
        reports="The same without an error.",
        request={**DEADLINE, "on_deadline": "partial"},
        script=(Text("One", " two"), Stalls()),
        expects={"text": "One two", "finish_reason": "DEADLINE", "usage": usage(2)},
        check=engine_was_left,
    ),
    Case(
        name="a deadline over a drop",
        happens="The connection is reset after two tokens, the engine stalls after two more.",
        reports="Four tokens, and the end at the original deadline.",
        request={**DEADLINE, "on_deadline": "partial"},
        script=(Text("One", " two"), Cut(), Text(" three", " four"), Stalls()),
        expects={
            "text": "One two three four",
            "finish_reason": "DEADLINE",
            "usage": usage(4),
            "resumes": AtLeast(1),
            "notices": ATTACHED,
        },
        check=engine_was_left,
    ),
    Case(
        name="FINISH_PARTIAL",
        happens="A call with CANCEL; the engine stalls after two tokens; `on_deadline` partial.",
        reports="The output so far, finish reason DEADLINE, no error.",
        request={"resumable": False, **DEADLINE, "on_deadline": "partial"},
        script=(Text("One", " two"), Stalls()),
        expects={"text": "One two", "finish_reason": "DEADLINE", "usage": usage(2)},
        check=engine_was_left,
    ),
    Case(
        name="a deadline of a stream that is not resumable",
        happens="The same with `on_deadline` fail.",
        reports="The output so far, finish reason DEADLINE, and DEADLINE_EXCEEDED with `ended`.",
        request={"resumable": False, **DEADLINE},
        script=(Text("One", " two"), Stalls()),
        expects={
            "text": "One two",
            "finish_reason": "DEADLINE",
            "usage": usage(2),
            "error": error("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "RETRY", ended=True),
        },
        check=engine_was_left,
    ),
    Case(
        name="the user stops",
        happens="The reader leaves the loop after three tokens; the engine has not ended.",
        reports="Three tokens, no error; CancelGeneration reached the engine: its connection is closed.",
        request={"stop_after_tokens": 3},
        script=(*(Text(word) for word in WORDS[:3]), Stalls()),
        expects={"text": "".join(WORDS[:3]), "token_count": 3, "finish_reason": ""},
        check=was_cancelled,
    ),
    Case(
        name="the user of a stream that is not resumable stops",
        happens="The same with CANCEL.",
        reports="The same: leaving the call stops the engine.",
        request={"stop_after_tokens": 3, "resumable": False},
        script=(*(Text(word) for word in WORDS[:3]), Stalls()),
        expects={"text": "".join(WORDS[:3]), "token_count": 3, "finish_reason": ""},
        check=was_cancelled,
    ),
    Case(
        name="somebody else cancels",
        happens="Another caller cancels the generation after two tokens.",
        reports="The text until then, CANCELLED with advice NEVER and `ended`.",
        script=(Text("One", " two"), CancelledElsewhere(), Stalls()),
        expects={
            "text": "One two",
            "finish_reason": "CANCELLED",
            "error": error("CANCELLED", "CANCELLED", "NEVER", ended=True),
        },
        check=engine_was_left,
    ),
)
