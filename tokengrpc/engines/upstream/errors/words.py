"""What the words of an error object say: one table, because servers give many errors the same status."""

from __future__ import annotations

import re
from enum import Enum


class Fault(Enum):
    """What an error object's words say about the cause, whatever its status is."""

    BUSY = "the engine's rate or capacity is exhausted for a short time"
    UNPAID = "the server's account has no credit or no quota left"
    AUTH = "the engine does not accept the server's key, account or region"
    LOADING = "the engine is not ready"
    CONTEXT = "the input exceeds the context"
    MODEL = "the engine does not know the model that the server asks for"


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


# How far apart words of one statement may be; a bound also keeps the search linear.
_NEAR = r"[^\n]{0,80}?"
_INPUT = r"(?:input|inputs|prompt|messages?|conversation|request|sequence|context|input_ids)"
_TOKENS = r"(?:number of )?(?:input |prompt |context )?tokens"
_LENGTH = r"(?:length|size|window|limit|tokens?|context)"
_BEYOND = r"(?:exceed\w*|(?:too|very) (?:long|large|big)|(?:longer|larger|greater|bigger) than|over the)"

# The first row that matches counts. Rates come first, because "tokens per minute" is also about tokens, and
# providers mention billing when they refuse a request for its rate. The words are in lower case.
_WORDS: tuple[tuple[Fault, re.Pattern[str]], ...] = (
    (
        Fault.BUSY,
        _any(
            r"per[ _-]?(?:second|minute|hour|min|sec)\b",
            r"(?:tokens?|requests?) per day",
            r"\b[tr]p[md]\b",
            r"too many tokens, please wait",
        ),
    ),
    (
        Fault.UNPAID,
        _any(
            r"insufficient[ _-]?(?:quota|balance|credits?|funds)",
            r"credit balance",
            r"(?:out of|no|not enough|more) credits?\b",
            r"credits? (?:have been |are |has been )?(?:exhausted|used up|depleted|expired)",
            r"exceeded[ _](?:your[ _])?current[ _]quota",
            r"billing_hard_limit",
            r"account is not active",
            r"account (?:\S+ )?(?:is |has been )?suspended",
            r"arrearage",
            r"good standing",
            r"余额不足|欠费",
        ),
    ),
    (
        Fault.BUSY,
        _any(
            r"rate[ _-]?limit",
            r"too[ _]many[ _]requests",
            r"throttl",
            r"overloaded",
            r"serviceunavailable",
            r"at capacity",
            r"capacity exceeded",
            r"no healthy deployments",
            r"\bqps\b|request limit reached",
            r"high demand",
            r"server is busy",
        ),
    ),
    (
        Fault.UNPAID,
        _any(
            r"quota[ _](?:exceeded|exhausted)",
            r"exceed\w* (?:your |the )?(?:monthly |usage |allocated )?quota",
            r"billing",
            r"payment[ _]required",
            r"spend(?:ing)?[ _]limit",
            r"usage limits?\b",
            r"recharge|top up",
        ),
    ),
    (
        Fault.AUTH,
        _any(
            r"(?:invalid|incorrect|expired|missing|unknown|no|disabled)[ _](?:api[ _-]?key|credential)",
            r"api[ _-]?key[^\n]{0,20}?(?:not valid|invalid|incorrect|expired|not found|missing|required)",
            r"invalid_api_key",
            r"unauthori[sz]ed",
            r"unauthenticated",
            r"authentication (?:failed|error|fails)",
            r"organi[sz]ation (?:has been |is )?disabled",
            rf"(?:location|country|region|territory){_NEAR}not (?:supported|available)",
            r"unsupported_country_region_territory",
        ),
    ),
    (
        Fault.LOADING,
        _any(r"(?:model|engine|server) is (?:currently |still )?(?:loading|starting|warming up|not ready)"),
    ),
    (
        Fault.MODEL,
        _any(
            r"model[ _]?not[ _]?(?:found|exist)",
            r"(?:invalid|unknown|no such|unrecognized) model(?:[ _](?:name|id)\b|:| ['`\"]| specified|$)",
            r"(?:invalid|unknown|no such|unrecognized) model \S+$",
            r"not a valid model",
            rf"\bmodels?\b{_NEAR}(?:do(?:es)? not exist|doesn't exist|not found|is not available)",
            r"model_not_available",
        ),
    ),
    (
        Fault.CONTEXT,
        _any(
            r"context[ _-]?length[ _-]?exceeded",
            r"exceed_context_size",
            r"contextwindowexceeded",
            r"tokens_limit_reached",
            r"max_input_length",
            r"range of input length",
            r"max(?:imum)? (?:context|input|prompt|model|sequence) (?:length|size|window)",
            rf"(?:context|model)(?:'s|s)?(?: \w+)? ?(?:length|window|size|limit){_NEAR}{_BEYOND}",
            rf"{_BEYOND}{_NEAR}(?:{_INPUT}|model|session)(?:'s)?(?: token)?(?: count)? ?{_LENGTH}",
            rf"{_BEYOND}{_NEAR}max(?:imum)?[ _](?:\w+ )?(?:seq_len|model_len|num_tokens|{_TOKENS})",
            rf"{_INPUT} tokens?(?: count)?{_NEAR}{_BEYOND}",
            r"(?:prompt|input)s?(?: \([^)]{0,60}\))?(?: is| are|:)? too (?:long|large)",
            r"(?:prompt|input|sequence) (?:length|has|contains)" + _NEAR + _BEYOND,
            r"prompt exceeds max",
            r"max(?:imum)? number of (?:input |prompt |context )?tokens exceeded",
            r"(?:requested|model) tokens?(?: \w+)?" + _NEAR + _BEYOND + r"[^\n]{0,40}?(?:context|limit)",
            r"exceeded model token limit",
            r"request body too large for",
            r"too many (?:input |prompt )?tokens(?: in|:)",
            r"context (?:length|window|size) (?:overflow|exceeded|of only)",
            r"context overflow",
            r"reduce (?:the |your )?(?:length of |size of )?(?:the |your )?(?:messages|prompt|input|context)",
            r"prompt tokens? too long",
            r"`inputs` (?:tokens )?(?:must have less than|\+ `max_new_tokens`)",
            r"输入.{0,8}(?:长|超)",
            r"(?:超|长).{0,8}上下文",
        ),
    ),
)


# Nothing that identifies an error stands further back, where errors quote the request.
_MAX_CHARACTERS = 4000


def read_fault(words: str) -> Fault | None:
    """Returns what the words say, or None if they say nothing that is known. They are in lower case."""
    words = words[:_MAX_CHARACTERS]
    return next((fault for fault, pattern in _WORDS if pattern.search(words)), None)
