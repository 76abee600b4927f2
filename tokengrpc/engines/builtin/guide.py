"""The builtin engine's knowledge: a guide in sections, and the model that is trained on it."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING

from tokengrpc.engines.builtin.model import MAX_CONTEXT, NgramModel
from tokengrpc.tokenizers.tiktoken import END_OF_TEXT, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Characters at the end of a question that are searched for its topic.
_TOPIC_CHARACTERS = 20_000

# Words are compared by this many characters, so that `cancel` matches `cancellation`.
_STEM = 5


class Guide:
    """A guide and the model trained on it. Its answers end with the token END_OF_TEXT."""

    def __init__(self, text: str) -> None:
        tokenizer = load("o200k_base", exact=True)
        sections = list(_sections(text))
        self.model = NgramModel(
            (_opening(index), [*tokenizer.encode(answer), END_OF_TEXT])
            for index, (_, answer) in enumerate(sections)
        )
        self.headings = tuple(heading for heading, _ in sections)
        self._headings = [_stems(heading) for heading in self.headings]
        self._answers = [_stems(answer) for _, answer in sections]
        self._heading_weights = _stem_weights(self._headings)
        self._answer_weights = _stem_weights(self._answers)

    def opening(self, question: str) -> tuple[int, ...]:
        """Returns the context in which the answer begins. If no section matches, it is the last one's."""
        question_stems = frozenset(_stems(question[-_TOPIC_CHARACTERS:]))
        scores = [self._score(question_stems, index) for index in range(len(self._headings))]
        best = max(scores)
        return _opening(scores.index(best) if best > 0 else len(scores) - 1)

    def can_continue(self, tokens: list[int]) -> bool:
        """Returns whether the last tokens occur in the guide, so that the model can continue the text."""
        return len(tokens) >= MAX_CONTEXT and self.model.knows(tokens[-MAX_CONTEXT:])

    def _score(self, question_stems: frozenset[str], index: int) -> float:
        heading, answer = self._headings[index], self._answers[index]
        weights = self._heading_weights
        in_heading = sum(weights[stem] for stem in question_stems & heading.keys())
        covered = in_heading / sum(weights[stem] for stem in heading) if heading else 0.0
        in_answer = sum(
            self._answer_weights[stem] * (1 + math.log(answer[stem]))
            for stem in question_stems & answer.keys()
        )
        return 2 * in_heading + 2 * covered + in_answer


@functools.cache
def learn() -> Guide:
    """Trains a model on the packaged guide, once per process. Takes some hundred milliseconds."""
    return Guide(resources.files("tokengrpc.engines.builtin").joinpath("data", "guide.md").read_text("utf-8"))


def _opening(index: int) -> tuple[int, ...]:
    # A negative number is not a token id: it identifies the section. It fills the context, so that the first
    # few tokens of an answer depend on the section as well.
    return (-1 - index,) * MAX_CONTEXT


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yields each section's heading and answer. The lines of a paragraph are joined."""
    for section in text.split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        paragraphs = [" ".join(paragraph.split()) for paragraph in body.strip().split("\n\n")]
        yield heading, "\n\n".join(paragraphs)


def _stem_weights(texts: Sequence[Counter[str]]) -> dict[str, float]:
    """Returns the weight of each stem: the fewer texts contain it, the more (inverse document frequency)."""
    document_counts = Counter(stem for text in texts for stem in text)
    return {stem: math.log(len(texts) / count) + 0.2 for stem, count in document_counts.items()}


# Stop words, which do not identify a topic.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """
    a about after all an and any are as at be between but by can describe did do does explain
    for from get give had has have how i if in into is it its just let like made make me more my
    no not of on one only or our out please say show so some tell than that the their them then
    there they thing this to up us use used using want was we were what when where which who why
    will with work would write you your
    """,
    )
)


def _stems(text: str) -> Counter[str]:
    words = re.findall(r"[^\W\d_]+", text.lower())
    return Counter(word[:_STEM] for word in words if word not in _COMMON)
