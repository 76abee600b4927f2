"""Cases 6: servers that are killed, frozen, and started again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.interop.cases.reading import END
from tests.interop.expectations import ANYTHING, ERROR_TEXTS, AtLeast, OneOf, error, notices, told, usage
from tests.interop.site import Await, Restart, Site
from tests.support.scripted_engine import Headers, Text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.scripted_engine import Step

BEFORE = ("One", " twö")
AFTER = (" three 🙂", " four")
# A busy machine may be slow enough for heartbeats.
ATTACHED = notices(attached=ANYTHING, heartbeat=ANYTHING)
WHOLE: Final = {"text": "".join(BEFORE + AFTER), "token_count": 4, "usage": usage(4), "notices": ATTACHED}
# Frozen for shorter, the server has answered the first ping in time; for longer, it has not.
UNNOTICED, NOTICED, LONG = 10, 20, 60
# What readers have when the server goes. A reset connection may lose the last data.
PREFIX = OneOf("", BEFORE[0], "".join(BEFORE))


def killed(*, after: str, down: float) -> Callable[[Site], Awaitable[None]]:
    """Returns the disturbance: all readers have a text; the server is killed, and back after a time."""

    async def disturb(site: Site) -> None:
        await site.all_called()
        await site.all_have(after)
        site.kill()
        await asyncio.sleep(down)
        await site.start_again()

    return disturb


def frozen(seconds: float) -> Callable[[Site], Awaitable[None]]:
    """Returns the disturbance: all readers have the first half, and are idle; the server is frozen."""

    async def disturb(site: Site) -> None:
        await site.all_called()
        await site.all_have(BEFORE[-1])
        # gRPC for Python pings while data arrives, to measure the bandwidth, and shortly after. Such a ping
        # would notice the frozen server early.
        await asyncio.sleep(1)
        site.freeze()
        await asyncio.sleep(seconds)
        site.wake()

    return disturb


async def frozen_until_told(site: Site) -> None:
    """All readers have the first half; the server is frozen until they have ended."""
    await site.all_called()
    await site.all_have(BEFORE[-1])
    site.freeze()
    await site.all_reported()
    site.wake()


async def down_at_first(site: Site) -> None:
    """The server is not there when the readers come, and 2 s later."""
    await site.all_knocked()
    await asyncio.sleep(2)
    await site.start_again()


async def killed_at_once(site: Site) -> None:
    """The server is killed when it has called the engine for all readers, and started again."""
    await site.all_called()
    site.kill()
    await site.start_again()


def answer_when_started_again(*first: Step) -> Callable[[Site], tuple[Step, ...]]:
    """Returns the script: nothing but these steps from the first server, everything from the second one."""
    return lambda site: (*first, Await(site.started_again), *map(Text, BEFORE + AFTER), *END)


def first_half(site: Site) -> tuple[Step, ...]:
    """Returns two tokens, the second one for all readers at once."""
    return (Text(BEFORE[0]), Await(site.everyone), Text(BEFORE[1]))


def answer_in_halves(site: Site) -> tuple[Step, ...]:
    """Returns the script: the first half, and the second one when the server has woken up."""
    return (*first_half(site), Await(site.awake), Text(*AFTER), *END)


def lost(down: float) -> Restart:
    """Returns the case of a server that is killed in the middle of an answer."""
    return Restart(
        name=f"killed after two tokens, and back after {down:g} s",
        happens=(
            f"The server is killed when two tokens have been delivered, and started again after {down:g} s."
        ),
        reports=(
            "The text until then, and GENERATION_LOST once the new server says so; nothing is repeated."
        ),
        script=lambda site: (*first_half(site), Await(site.awake)),
        disturb=killed(after=BEFORE[-1], down=down),
        expects={
            "text": PREFIX,
            "finish_reason": "",
            "error": error("NOT_FOUND", "GENERATION_LOST", "RETRY"),
            "resumes": AtLeast(1),
            "notices": ATTACHED,
        },
    )


def thawed(seconds: int, resumes: object, outcome: str) -> Restart:
    """Returns the case of a server that is frozen for some seconds."""
    return Restart(
        name=f"frozen for {seconds} s",
        happens=(
            f"The server's process is stopped for {seconds} s (SIGSTOP) after two tokens, while the engine "
            "is silent."
        ),
        reports=f"The whole answer, {outcome}",
        script=answer_in_halves,
        disturb=frozen(seconds),
        expects={**WHOLE, "resumes": resumes},
        timeout=seconds + 60,
        long=seconds == LONG,
    )


def frozen_for_good(name: str, patience: float, message: object, reports: str) -> Restart:
    """Returns the case of a server that is frozen until the client has given up."""
    return Restart(
        name=name,
        happens=f"The server's process is stopped after two tokens. The patience is {patience:g} s.",
        reports=reports,
        request={"patience_seconds": patience},
        script=answer_in_halves,
        disturb=frozen_until_told,
        expects={
            "text": PREFIX,
            "finish_reason": "",
            "error": error(ANYTHING, "CONNECTION_LOST", "RESUME", message=message),
            "resumes": ANYTHING if patience else 0,
            "notices": ATTACHED,
        },
    )


RESTARTS = (
    Restart(
        name="no server for 2 s",
        happens="When the driver starts, no server listens; one is started 2 s later.",
        reports="The whole answer, from the first start that reached a server.",
        script=lambda site: (*map(Text, BEFORE + AFTER), *END),
        disturb=down_at_first,
        begins_down=True,
        expects={**WHOLE, "resumes": AtLeast(1)},
    ),
    Restart(
        name="killed before the first byte",
        happens="The server is killed when it has called the engine, and started again.",
        reports="The whole answer: nothing had begun, so the client starts again.",
        script=answer_when_started_again(),
        disturb=killed_at_once,
        expects={**WHOLE, "resumes": AtLeast(1)},
    ),
    Restart(
        name="killed before the first token",
        happens="The server is killed when the readers have `started`, and started again.",
        reports="The whole answer: no token had arrived, so the client starts again.",
        script=answer_when_started_again(Headers()),
        # The name of the engine, in `started`.
        disturb=killed(after="scripted", down=0),
        expects={**WHOLE, "resumes": AtLeast(2)},
    ),
    *map(lost, (0, 2, 10)),
    thawed(UNNOTICED, 0, "without another call."),
    thawed(NOTICED, AtLeast(1), "after a resume: the client noticed after 15 s."),
    thawed(LONG, AtLeast(1), "after a resume, however long the server took. Only with `make interop-long`."),
    frozen_for_good(
        "frozen for good, without patience",
        0,
        told("CONNECTION_LOST", ERROR_TEXTS["server frozen"]),
        "The text until then, and CONNECTION_LOST, which says that the server did not answer.",
    ),
    frozen_for_good(
        "frozen for good, with a patience of 3 s",
        3,
        told("CONNECTION_LOST"),
        "The same with any cause: the client tried again, and did not wait for ever for its next connection.",
    ),
)
