"""Draws `history.jsonl` as `docs/images/bench_history.svg`: tokengrpc's figures, divided by its peers'."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from bench.history import HISTORY, SCENARIOS, noted
from bench.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PICTURE = HISTORY.parent.parent / "docs" / "images" / "bench_history.svg"
_WIDTH, _HEIGHT, _GAP, _LEFT, _TOP = 340, 240, 50, 50, 40
_COLORS = dict(zip(SCENARIOS, ("#1b9e77", "#d95f02", "#7570b3", "#e7298a"), strict=True))
_LEGEND = {
    "bursts": "bursts",
    "paced": "60 streams of 30/s",
    "flood": "10,000 tokens/s",
    "first_token": "first token, added",
}


def picture(history: Sequence[dict[str, Any]]) -> str:
    """Returns the picture: a panel for each peer, with a line for each scenario, on a logarithmic scale."""
    width, height = _LEFT + len(PEERS) * (_WIDTH + _GAP), _TOP + _HEIGHT + 70
    parts = [part for number, peer in enumerate(PEERS) for part in _panel(history, peer, number)]
    for number, (name, text) in enumerate(_LEGEND.items()):
        x = _LEFT + number * 170
        parts.append(f'<circle cx="{x}" cy="{height - 14}" r="4" fill="{_COLORS[name]}"/>')
        parts.append(_text(x + 10, height - 10, text))
    font = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {font}>'
    ground = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    return "\n".join([head, ground, *parts, "</svg>\n"])


def _panel(history: Sequence[dict[str, Any]], peer: str, number: int) -> Iterator[str]:
    left = _LEFT + number * (_WIDTH + _GAP)
    known = [row["ratios"][name].get(peer) for row in history for name in SCENARIOS]
    exponents = [math.log2(ratio) for ratio in known if ratio and ratio > 0]
    least, most = math.floor(min([*exponents, -1])), math.ceil(max([*exponents, 1]))

    def y(exponent: float) -> float:
        return round(_TOP + _HEIGHT * (most - exponent) / (most - least), 1)

    yield _text(left, _TOP - 14, f"tokengrpc / {peer} (less is better)")
    for exponent in range(least, most + 1):
        color = "#888" if exponent == 0 else "#ddd"
        yield f'<path d="M{left} {y(exponent)}h{_WIDTH}" stroke="{color}"/>'
        label = f"{2**exponent}" if exponent >= 0 else f"1/{2**-exponent}"
        yield _text(left - 6, y(exponent) + 4, label, anchor="end")
    places = [round(left + _WIDTH * (at + 0.5) / len(history), 1) for at in range(len(history))]
    for x, row in zip(places, history, strict=True):
        yield _text(x, _TOP + _HEIGHT + 18, row["version"], anchor="middle")
    for name in SCENARIOS:
        ratios = [(x, row["ratios"][name].get(peer)) for x, row in zip(places, history, strict=True)]
        points = [(x, y(math.log2(ratio))) for x, ratio in ratios if ratio and ratio > 0]
        line = " ".join(f"{x},{height}" for x, height in points)
        yield f'<polyline points="{line}" fill="none" stroke="{_COLORS[name]}"/>'
        for x, height in points:
            yield f'<circle cx="{x}" cy="{height}" r="4" fill="{_COLORS[name]}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" fill="#333" text-anchor="{anchor}">{text}</text>'


def main() -> int:
    """Writes the picture."""
    PICTURE.write_text(picture(noted()), encoding="utf-8")
    print(f"written to {PICTURE.relative_to(HISTORY.parent.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
