"""The script of the benchmark's engine.

The prompt contains it, and the load client checks the output with it.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

MODEL = "bench"

# Some tokens contain the time at which the engine wrote them: microseconds of CLOCK_MONOTONIC, which all
# processes of a machine share. They are few, because each has a unique text, so a relay that caches the token
# counts of common texts must count each one.
_STAMP_WIDTH = 14
_STAMP = re.compile(r" @(\d{14})")
_STAMP_PLACE = " @" + "0" * _STAMP_WIDTH

# Typical output of models: short words, some punctuation, quotes and line ends, which JSON escapes, and a few
# characters of several bytes.
_COMMON = """
the of and to in is that it was for on are as with his they at be this from have or by one had not
but what all were when we there can an your which their said if do will each about how up out them
then she many some so these would other into has more her two like him see time could no make than
first been its who now people my made over did down only way find use may water long little very
after words called just where most know get through back much go good new write our me man too any
day same right look think also around another came come work three must because does part even place
well such here take why help put different away again off went old number great tell men say small
every found still between name should home big give air line set own under read last never us left
end along while might next sound below saw something thought both few those always show large often
together asked house world going want school important until form food keep children feet land side
without café naïve über
"""
WORDS = (*(f" {word}" for word in _COMMON.split()), ",", ".", '"', ":\n", ".\n\n", " —", "ing", "ed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One answer: `tokens` tokens at `rate` per second, each in its own chunk. Rate 0 writes all at once.

    The first token is sent `phase` / `rate` seconds after the request. `seed` selects the words. Every
    `stamp_every`-th token contains its time.
    """

    tokens: int
    rate: float = 0.0
    phase: float = 0.0
    seed: int = 0
    stamp_every: int = 10

    @classmethod
    def parse(cls, prompt: str) -> Script:
        """Parses a script that `prompt` wrote. Raises ValueError or KeyError for anything else."""
        values = dict(word.split("=", 1) for word in prompt.split())
        tokens, seed, stamp_every = (int(values[name]) for name in ("tokens", "seed", "stamp_every"))
        rate, phase = float(values["rate"]), float(values["phase"])
        return cls(tokens=tokens, rate=rate, phase=phase, seed=seed, stamp_every=stamp_every)

    def prompt(self) -> str:
        """Returns the prompt that makes the engine run this script."""
        return " ".join(f"{name}={value!r}" for name, value in asdict(self).items())

    def word(self, index: int) -> int:
        """Returns the index in WORDS of a token that is not stamped."""
        return (self.seed + index * 7) % len(WORDS)

    def stamped(self, index: int) -> bool:
        """Returns whether a token contains a time."""
        return (index + self.seed) % self.stamp_every == 0

    def plain_text(self, count: int) -> str:
        """Returns the text of the first `count` tokens, with zeros for the stamps."""
        words = (_STAMP_PLACE if self.stamped(index) else WORDS[self.word(index)] for index in range(count))
        return "".join(words)


def stamp(now_ns: int) -> str:
    """Returns the text of a stamped token."""
    return f" @{now_ns // 1000:0{_STAMP_WIDTH}d}"


def stamps(text: str) -> list[int]:
    """Returns the times in a text, in microseconds."""
    return [int(digits) for digits in _STAMP.findall(text)]


def without_stamps(text: str) -> str:
    """Returns the text with zeros for its stamps, like `plain_text`."""
    return _STAMP.sub(_STAMP_PLACE, text)
