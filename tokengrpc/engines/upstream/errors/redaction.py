"""Redacts text that a server sent before it reaches callers and logs. No I/O.

What is removed: keys and tokens, also as providers quote them; addresses of the engine and of what is behind
it; paths of files; characters that can control a terminal or reorder its text. Every pattern is matched in
linear time: what may repeat is either bounded, or cannot be matched from a second position.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tokengrpc.core.text import encodable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HIDDEN, ADDRESS, PATH = "[hidden]", "[address]", "[path]"

# No more than this of a text is read. Errors show 200 characters of it.
_MAX_CHARACTERS = 4_096

# Words that come with every response, such as a finish reason and the model's name, are redacted once.
_WORD_CHARACTERS = 128
_REMEMBERED_WORDS = 256

# A part of a known secret counts from this length on, at the secret's beginning or end.
_PART = 6

# Characters that mask the middle of a key: "sk-proj-****abcd", "sk-…abcd".
_MASK = "*\u2022\u2026\u00b7"

_TERMINAL_SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-9;:?<=>]{0,32}[ -/]{0,4}[@-~]")
# C0 without tab and line feed, DEL, C1, and the two separators that some terminals take for line ends.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# Bidirectional controls and marks, characters without a width, and invisible tags.
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)

# What follows one of these is a key, a token or a password.
_CREDENTIAL = re.compile(
    r"""
    (?P<before>
        \b bearer \s{1,8}
      | \b basic \s{1,8} (?= [A-Za-z+/]* [0-9=] )
      | (?: \b authorization | api[-_ ]?key | access[-_]?key | (?:access|auth)[-_]?token | client[-_]?secret
          | \b secret | \b passw(?:or)?d | [?&] (?:key|token|sig) )
        ["']? \s{0,4} [:=] \s{0,4} ["']? (?: (?:bearer|basic|token) \s{1,8} )?
    )
    [^\s"',;)}\]<>&]+
    """,
    re.VERBOSE | re.IGNORECASE,
)

# Keys that their beginning gives away, whole or with a masked middle, and JSON web tokens.
_KEY = re.compile(
    rf"""
    (?<![A-Za-z0-9])
    (?: (?: (?:sk|pk|rk|csk|sess|xai|nvapi|pplx|glpat) -
          | (?:gsk|hf|fw|tgp|gh[opsu]|r8|lsv2|pk|sk|github_pat) _
          | xox[abps]- | AIza | ya29\. | AKIA | ASIA )
        [A-Za-z0-9_\-.{_MASK}/+=]{{2,}}
      | eyJ [A-Za-z0-9_\-]{{6,}} (?: \. [A-Za-z0-9_\-]* ){{0,4}}
    )
    """,
    re.VERBOSE,
)

# Any other word with a masked part.
_MASKED = re.compile(
    rf"(?<![\w\-.{_MASK}])[\w\-.]{{0,64}}(?:[*\u2022\u00b7]{{3,}}|\u2026+(?=\w))[\w\-.{_MASK}]*"
)

# "The API key ending with abcd".
_KEY_PART = re.compile(
    r"(\bkeys?\b[^\n]{0,40}?\b(?:ending|ends|starting|starts|beginning|begins) (?:in|with)[ :]{0,3}[\"'`]?)"
    r"[^\s\"'`,;)]{2,}",
    re.IGNORECASE,
)

_URL = re.compile(r"(?<![A-Za-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]{1,20}://[^\s\"'<>`)\]}]+")
# Addresses as gRPC writes them, such as `ipv6:%5B::1%5D:8033`, and Unix sockets.
_GRPC_TARGET = re.compile(r"\b(?:unix|ipv4|ipv6|dns|vsock):[^\s\"'<>`,)\]}]+")
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)(?:[:/]\d{1,5})?")
_BRACKETED = re.compile(r"\[[0-9A-Fa-f:.]{2,45}(?:%[\w\-.]{1,32})?\](?::\d{1,5})?")
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:(?:\.\d{1,3}){3})?(?:%[\w\-.]{1,32})?(?![\w:])"
)

_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_\-]{0,62}"
_SUFFIX = (
    "(?:com|net|org|io|ai|dev|cloud|app|internal|local|lan|corp|svc|intra|home|localdomain|test|example)"
)
# A name with a dot, and with an ending of networks' names or a port.
_NAME = re.compile(
    rf"(?<![\w.\-]){_LABEL}(?:\.{_LABEL}){{0,10}}?"
    rf"\.(?:{_SUFFIX}(?![\w\-])(?:\.{_LABEL}){{0,4}}(?::\d{{1,5}})?|{_LABEL}:\d{{2,5}}(?!\w))"
)
# A name without a dot but with a port, where the name or the word before it shows that it is a host.
_HOST_PORT = re.compile(
    r"(?<![\w.\-])(?:localhost|[A-Za-z0-9]{1,63}-[A-Za-z0-9\-]{1,63}):\d{2,5}(?![\w.]?\w)"
    r"|(?P<before>\b(?:to|at|from|host|hostname|tcp|udp|via|on|address|server|upstream|backend|dial|proxy|peer)"
    r"[\"']?[ =:]{1,3}[\"'(]{0,2})[A-Za-z][\w\-]{0,62}:\d{2,5}(?![\w.]?\w)",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r"(?P<before>\b(?:host|hostname|addr|address|peer|ip)[\"']?[ ]?[=:][ ]?[\"'])[^\"']{1,255}"
    r"|(?P<port>\bport[\"']?[ ]?[=:][ ]?)\d{1,5}\b",
    re.IGNORECASE,
)

# Absolute paths of two names or more, and sockets. The paths of APIs stay: they help to find a mistake.
_FILE = re.compile(
    r"(?<![\w/.])~?/"
    r"(?!(?:v\d\w{0,8}|api|chat|completions|messages|openai|generate|engines|deployments|responses)\b)"
    r"(?:[\w.@+\-]{1,255}/[^\s\"'`<>(),;:\]}]+|[\w.@+\-]{1,255}\.sock)"
    r"|(?<!\w)[A-Za-z]:\\[^\s\"'`<>|,;)]+"
)


def hiding(*secrets: str | None, hosts: Iterable[str] = ()) -> Callable[[str], str]:
    """Returns a function that redacts an engine's text.

    The result can be encoded as UTF-8. It contains none of `secrets`, no beginning or end of a long one, and
    none of `hosts`, the names under which the engine is reached. Text beyond 4,096 characters is dropped.
    """
    known = sorted(filter(None, secrets), key=len, reverse=True)  # one may be a part of another
    parts = [pattern for secret in known for pattern in _parts(secret)]
    own_hosts = _own_hosts(hosts)

    def hide(text: str) -> str:
        text = _without_controls(encodable(_beginning(text)))
        for secret in known:
            text = text.replace(secret, HIDDEN)
        for pattern in parts:
            text = pattern.sub(HIDDEN, text)
        text = _CREDENTIAL.sub(rf"\g<before>{HIDDEN}", text)
        for pattern in (_KEY, _MASKED):
            text = pattern.sub(HIDDEN, text)
        text = _hide_addresses(_KEY_PART.sub(rf"\1{HIDDEN}", text))
        return text if own_hosts is None else own_hosts.sub(ADDRESS, text)

    hide_word = lru_cache(_REMEMBERED_WORDS)(hide)
    return lambda text: hide_word(text) if len(text) <= _WORD_CHARACTERS else hide(text)


def _own_hosts(hosts: Iterable[str]) -> re.Pattern[str] | None:
    names = sorted(map(re.escape, filter(None, hosts)), key=len, reverse=True)
    if not names:
        return None
    return re.compile(rf"(?<![\w\-])(?:{'|'.join(names)})(?::\d{{1,5}})?(?![\w\-])", re.IGNORECASE)


def _parts(secret: str) -> Iterator[re.Pattern[str]]:
    """Yields patterns of a secret's beginning and end, as providers quote them."""
    if len(secret) < 2 * _PART:
        return
    key = r"[A-Za-z0-9_\-]"
    first, last = re.escape(secret[:2]), re.escape(secret[-2:])
    yield re.compile(rf"{re.escape(secret[:_PART])}{key}*")
    yield re.compile(rf"(?<!{key}){key}{{0,64}}?{re.escape(secret[-_PART:])}")
    yield re.compile(rf"(?<!\w){first}{key}{{0,32}}[.{_MASK}]{{2,}}[\w\-.{_MASK}]*")
    yield re.compile(rf"(?<![.{_MASK}])[.{_MASK}]{{2,}}{key}{{0,32}}?{last}(?!\w)")


def _beginning(text: str) -> str:
    """Returns the text up to the bound. A word that the bound would cut, such as a key, is left out."""
    if len(text) <= _MAX_CHARACTERS:
        return text
    head = text[:_MAX_CHARACTERS]
    return head.rsplit(None, 1)[0] if any(character.isspace() for character in head) else head


def _without_controls(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    text = _INVISIBLE.sub("", _TERMINAL_SEQUENCE.sub("", text))
    return _CONTROL.sub(" ", text)


def _hide_addresses(text: str) -> str:
    for pattern in (_URL, _GRPC_TARGET):
        text = pattern.sub(ADDRESS, text)
    for pattern in (_BRACKETED, _IPV6, _IPV4):
        text = pattern.sub(_hide_if_ip, text)
    text = _FIELD.sub(lambda found: (found["before"] or found["port"]) + ADDRESS, text)
    text = _HOST_PORT.sub(lambda found: (found["before"] or "") + ADDRESS, text)
    text = _NAME.sub(ADDRESS, text)
    return _FILE.sub(PATH, text)


def _hide_if_ip(found: re.Match[str]) -> str:
    """Returns the mark for an address of IPv4 or IPv6, and other text, such as a time, unchanged."""
    text = found[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif "." in text and text.count(":") < 2:
        text = re.split("[:/]", text)[0]
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return found[0]
    return found[0] if text in {"::", ""} and not found[0].startswith("[") else ADDRESS
