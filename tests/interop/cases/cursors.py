"""Cases 4: generations that one client leaves and another one goes on with."""

from __future__ import annotations

from zlib import crc32

from tests.interop.acts import BegunBy, Reading, Stalls, WhenLeft
from tests.interop.cases.breaking import engine_was_left, was_cancelled
from tests.interop.cases.reading import END, still_runs
from tests.interop.expectations import ANYTHING, NOTHING, error, notices
from tests.interop.stage import Case, Report, Stage
from tests.support.harness import until
from tests.support.scripted_engine import Text

# Characters of one to four bytes in UTF-8.
SPOKEN = tuple(f"{character}{number} " for number, character in enumerate("aéß€語🙂🦜 zü"))
LEFT_AFTER = 5


async def goes_on(stage: Stage, report: Report) -> None:
    """Asserts that the reader has left the generation, that it runs, and that the cursor is its own."""
    await until(lambda: not stage.task.subscribers, "the reader is gone")
    assert not stage.task.complete
    assert not stage.engine.calls[0].disconnected.is_set()
    generation_id = stage.task.key.generation_id
    generation = await stage.served.get(generation_id)
    checksum = crc32(report["text"].encode())
    assert report["cursor"] == (
        f"tg1.{report['sequence']}.{checksum:08x}.{generation.log_incarnation}.{generation_id}"
    )


def went_on(stage: Stage, report: Report) -> None:
    """Asserts that both readers together received the engine's text, and agree with its checksum."""
    text = stage.engine.calls[0].text
    assert stage.begun["text"] == "".join(SPOKEN[:LEFT_AFTER])
    assert stage.begun["text"] + report["text"] == text
    assert stage.begun["token_count"] + report["token_count"] == len(SPOKEN)
    assert report["cursor"].split(".")[2] == f"{crc32(text.encode()):08x}"


def handed_over(language: str) -> Case:
    """Returns the case of a generation that the client of a language begins and leaves."""
    return Case(
        name=f"handed over by {language}",
        happens=(
            f"The client of {language} detaches after {LEFT_AFTER} tokens; the driver takes its cursor."
        ),
        reports="The rest: together exactly the engine's text and its checksum; one engine call.",
        request={"call": "resume"},
        before=(BegunBy(language, {"detach_after_tokens": LEFT_AFTER}),),
        script=(
            *(Text(word) for word in SPOKEN[:LEFT_AFTER]),
            WhenLeft(),
            *(Text(word) for word in SPOKEN[LEFT_AFTER:]),
            *END,
        ),
        expects={"text": "".join(SPOKEN[LEFT_AFTER:]), "notices": notices(attached=1)},
        check=went_on,
    )


def invalid(name: str, text: str) -> Case:
    """Returns the case of a text that is no cursor."""
    return Case(
        name=name,
        happens=f"The driver resumes with the text `{text}`.",
        reports="INVALID_CURSOR; no call is made.",
        request={"call": "resume", "cursor": text},
        expects={
            **NOTHING,
            "text": "",
            "sequence": 0,
            "cursor": "",
            "error": error("INVALID_ARGUMENT", "INVALID_CURSOR", ANYTHING, last_sequence=0),
        },
        engine_calls=0,
    )


CURSORS = (
    Case(
        name="the reader detaches",
        happens="The reader detaches after three tokens; the engine has not ended.",
        reports="Three tokens and the cursor, no error; the generation runs on without a reader.",
        request={"detach_after_tokens": 3},
        script=(*(Text(word) for word in SPOKEN[:3]), Stalls()),
        expects={"text": "".join(SPOKEN[:3]), "token_count": 3, "finish_reason": ""},
        check=goes_on,
    ),
    *map(handed_over, ("python", "go", "java", "typescript")),
    Case(
        name="a resumed reader detaches",
        happens=(
            "Another caller reads a generation; the driver resumes it with `cancel_on_close`, and detaches."
        ),
        reports="One token and the cursor; the generation runs on, because detaching never cancels.",
        request={
            "call": "resume",
            "cursor": "tg1.0...shared",
            "cancel_on_close": True,
            "detach_after_tokens": 1,
        },
        before=(Reading("shared"),),
        script=(Text("One"), Stalls()),
        expects={"text": "One", "finish_reason": "", "notices": notices(attached=1)},
        check=still_runs,
    ),
    Case(
        name="a resumed reader leaves, and cancels",
        happens="Another caller reads a generation; the driver resumes it with `cancel_on_close`, and stops.",
        reports="One token, no error; the generation is cancelled.",
        request={
            "call": "resume",
            "cursor": "tg1.0...shared",
            "cancel_on_close": True,
            "stop_after_tokens": 1,
        },
        before=(Reading("shared"),),
        script=(Text("One"), Stalls()),
        expects={"text": "One", "finish_reason": "", "token_count": 1, "notices": notices(attached=1)},
        check=was_cancelled,
    ),
    Case(
        name="detaching from a stream that is not resumable",
        happens="The reader of a call with CANCEL detaches after two tokens.",
        reports="Two tokens and NOT_RESUMABLE; leaving the call then stops the engine.",
        request={"resumable": False, "detach_after_tokens": 2},
        script=(Text("One"), Text(" two"), Stalls()),
        expects={
            "text": "One two",
            "finish_reason": "",
            "error": error("FAILED_PRECONDITION", "NOT_RESUMABLE", ANYTHING),
        },
        check=engine_was_left,
    ),
    invalid("an id is not a cursor", "chat-7"),
    invalid("a cursor with a checksum in upper case", "tg1.57.9AE0DAAF.k3Jq0wXb.chat-7"),
)
