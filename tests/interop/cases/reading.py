"""Cases 1: streams without disturbance, live and replayed."""

from __future__ import annotations

from typing import Any

from tests.interop.acts import DETACH, Ended, Reading, Silence, Stalls
from tests.interop.expectations import ANYTHING, AtLeast, error, notices, usage
from tests.interop.stage import Case, Report, Stage
from tests.support.harness import until
from tests.support.scripted_engine import (
    Bytes,
    Chunk,
    Done,
    Finish,
    Reasoning,
    Refusal,
    Split,
    Text,
    Together,
    ToolCall,
    UsageChunk,
)

END = (Finish(), UsageChunk(), Done())
WORDS = tuple(f"word{number} " for number in range(12))
MANY = tuple(f"{number} " for number in range(10_000))
TOLD = (Text(*WORDS[:4]), Text(*WORDS[4:]), *END)


def counted(text: str, total: int) -> dict[str, Any]:
    """Returns a chunk of as many tokens as its total exceeds that of the chunk before."""
    usage_of = {"prompt_tokens": 7, "completion_tokens": total, "total_tokens": 7 + total}
    return {"choices": [{"index": 0, "delta": {"content": text}}], "usage": usage_of}


async def still_runs(stage: Stage, report: Report) -> None:
    """Asserts that the generation and its engine call still run, for the other reader alone."""
    await until(
        lambda: len(stage.task.subscribers) == 1, "the driver's stream is gone, the other one is there"
    )
    assert not stage.task.complete
    assert not stage.engine.calls[0].disconnected.is_set()


def has_rest(stage: Stage, report: Report) -> None:
    """Asserts that the report has the rest of the engine's text, and not all of it."""
    everything = stage.engine.calls[0].text
    assert report["text"]
    assert everything.endswith(report["text"])
    assert report["token_count"] < stage.engine.calls[0].token_count


READING = (
    Case(
        name="characters split over reads and tokens",
        happens=(
            "The engine's bytes are cut inside `é`, `🙂` and `ü`, and the two halves of another `🙂` "
            "are two tokens."
        ),
        reports="Whole characters: `é🙂ü🙂!`, and a token count that has the token without text.",
        script=(
            Split(Text("é🙂ü"), -28, -29, -30, -31, -32, -33, -34, -35, -36),
            Bytes(b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n', ("",)),
            Bytes(b'data: {"choices":[{"index":0,"delta":{"content":"\\ude42"}}]}\n\n', ("🙂",)),
            Text("!"),
            *END,
        ),
        expects={"text": "é🙂ü🙂!", "token_count": 4},
    ),
    Case(
        name="several tokens in a message",
        happens="The engine writes 300 tokens at once; the server joins them into few messages.",
        reports="All 300, in order; the client does not count a message as a token.",
        script=(Text(*MANY[:300]), *END),
        expects={"text": "".join(MANY[:300]), "token_count": 300, "usage": usage(300)},
    ),
    Case(
        name="a token that stands for several",
        happens="The engine's chunks have 1, 3 and 2 tokens, without boundaries between them.",
        reports="Three pieces of text, six tokens, indexes without gaps.",
        script=(
            Chunk(counted("one ", 1), ("one ",)),
            Chunk(counted("two to four ", 4), ("two to four ", "", "")),
            Chunk(counted("to six", 6), ("to six", "")),
            *END,
        ),
        expects={"text": "one two to four to six", "token_count": 6, "usage": usage(6)},
    ),
    Case(
        name="cumulative usage",
        happens="Usage grows with each token; at the end the engine corrects it to 20, 5 of them reasoning.",
        reports="The newest usage, not a sum.",
        script=(
            *(Text(word) for word in WORDS),
            Finish(),
            UsageChunk(output=20, details={"completion_tokens_details": {"reasoning_tokens": 5}}),
            Done(),
        ),
        expects={"text": "".join(WORDS), "usage": usage(20, reasoning=5)},
    ),
    Case(
        name="reasoning channel",
        happens="The engine reasons in three tokens, then answers in two.",
        reports="Reasoning and answer in separate fields.",
        script=(Reasoning("Let ", "me ", "think."), Text("For", "ty."), *END),
        expects={"text": "Forty.", "reasoning_text": "Let me think.", "token_count": 5},
    ),
    Case(
        name="refusal",
        happens="The engine refuses.",
        reports="The refusal in its own field, and the finish reason REFUSAL without an error.",
        script=(Refusal("I ", "cannot."), *END),
        expects={"refusal_text": "I cannot.", "finish_reason": "REFUSAL"},
    ),
    Case(
        name="tool-call fragments",
        happens=(
            "After a sentence, the engine calls two functions; the fragments of their arguments interleave."
        ),
        reports="Two complete calls in order, and the sentence.",
        request={"tools": ["look", "find"]},
        script=(
            Together(Text("Let me see."), ToolCall(0, "c1", "look", '{"a')),
            ToolCall(1, "c2", "find", "{"),
            ToolCall(0, None, None, '":"é"}'),
            ToolCall(1, None, None, "}"),
            Finish("tool_calls"),
            UsageChunk(),
            Done(),
        ),
        expects={
            "text": "Let me see.",
            "finish_reason": "TOOL_CALLS",
            "tool_calls": [
                {"id": "c1", "function_name": "look", "arguments": '{"a":"é"}', "opaque": ""},
                {"id": "c2", "function_name": "find", "arguments": "{}", "opaque": ""},
            ],
            "usage": usage(5),
        },
    ),
    Case(
        name="heartbeats during a long silence",
        happens="The engine is silent for 1.2 s between two tokens; heartbeats come every 0.3 s.",
        reports="Heartbeats, and an answer without a trace of them.",
        limits={"heartbeat_interval": 0.3},
        script=(Text("One"), Silence(1.2), Text(" two"), *END),
        expects={"text": "One two", "token_count": 2, "notices": notices(heartbeat=AtLeast(2))},
    ),
    Case(
        name="heartbeats before the engine has accepted",
        happens=(
            "The engine is silent for 1.2 s before its first byte; heartbeats come every 0.3 s, with "
            "sequence 0."
        ),
        reports="Heartbeats, then the whole answer.",
        limits={"heartbeat_interval": 0.3},
        script=(Silence(1.2), Text("One"), *END),
        expects={"text": "One", "notices": notices(heartbeat=AtLeast(2))},
    ),
    Case(
        name="the same id attaches",
        happens="A generation has ended; the driver starts it again with an equal request.",
        reports="The whole answer, replayed; the engine is not called again.",
        request={"generation_id": "taken"},
        before=(Ended("taken", {"recovery": DETACH}),),
        script=TOLD,
        expects={"text": "".join(WORDS), "token_count": 12, "notices": notices(attached=1)},
    ),
    Case(
        name="replay from the start",
        happens="A generation has ended; the driver resumes it after sequence 0.",
        reports="The whole answer, and the notice `attached`.",
        request={"call": "resume", "cursor": "tg1.0...ended"},
        before=(Ended("ended"),),
        script=TOLD,
        expects={
            "text": "".join(WORDS),
            "token_count": 12,
            "usage": usage(12),
            "notices": notices(attached=1),
        },
    ),
    Case(
        name="resume at a given sequence",
        happens="A generation of several events has ended; the driver resumes it after sequence 2.",
        reports="Exactly the events that follow; usage of the whole generation.",
        request={"call": "resume", "cursor": "tg1.2...ended"},
        before=(Ended("ended"),),
        script=(Text(*WORDS[:4]), Silence(0.1), Text(*WORDS[4:]), *END),
        expects={"text": ANYTHING, "usage": usage(12), "notices": notices(attached=1)},
        check=has_rest,
    ),
    Case(
        name="resume at the end",
        happens=(
            "A generation of three events has ended; the driver resumes it after the last one. The call "
            "ends with OK, without any message."
        ),
        reports="A normal end without text. The outcome is not sent again; GetGeneration returns it.",
        request={"call": "resume", "cursor": "tg1.3...ended"},
        before=(Ended("ended"),),
        script=(Text("One"), *END),
        expects={"sequence": 3, "finish_reason": "", "usage": ANYTHING},
    ),
    Case(
        name="resume beyond the end",
        happens="The driver resumes a generation of three events after sequence 9.",
        reports="SEQUENCE_OUT_OF_RANGE with advice NEVER.",
        request={"call": "resume", "cursor": "tg1.9...ended"},
        before=(Ended("ended"),),
        script=(Text("One"), *END),
        expects={
            "finish_reason": "",
            "error": error("OUT_OF_RANGE", "SEQUENCE_OUT_OF_RANGE", "NEVER", ended=ANYTHING),
        },
    ),
    Case(
        name="a replay of 10,000 tokens",
        happens="A generation of 10,000 tokens has ended; the driver resumes it after sequence 0.",
        reports="All 10,000 tokens.",
        alone=True,
        request={"call": "resume", "cursor": "tg1.0...ended"},
        before=(Ended("ended"),),
        script=(*(Text(*MANY[i : i + 50]) for i in range(0, len(MANY), 50)), *END),
        expects={
            "text": "".join(MANY),
            "token_count": len(MANY),
            "usage": usage(len(MANY)),
            "notices": notices(attached=1),
        },
    ),
    Case(
        name="a second reader leaves",
        happens=(
            "Another caller reads a generation; the driver resumes it read-only and stops after the "
            "first token."
        ),
        reports="One token, no error; the generation is not cancelled.",
        request={"call": "resume", "cursor": "tg1.0...shared", "stop_after_tokens": 1},
        before=(Reading("shared"),),
        script=(Text("One"), Stalls()),
        expects={"text": "One", "finish_reason": "", "token_count": 1, "notices": notices(attached=1)},
        check=still_runs,
    ),
    Case(
        name="looking at a generation",
        happens="A generation has succeeded; the driver calls GetGeneration.",
        reports="Its state, usage and finish reason.",
        request={"call": "get", "generation_id": "ended"},
        before=(Ended("ended"),),
        script=TOLD,
        expects={"state": "SUCCEEDED", "usage": usage(12)},
    ),
    Case(
        name="looking at a generation that is unknown",
        happens="There is no generation with that id.",
        reports="GENERATION_NOT_FOUND with advice NEVER.",
        request={"call": "get", "generation_id": "nobody"},
        expects={
            "finish_reason": "",
            "error": error("NOT_FOUND", "GENERATION_NOT_FOUND", "NEVER", generation_id="nobody"),
        },
        engine_calls=0,
    ),
)
