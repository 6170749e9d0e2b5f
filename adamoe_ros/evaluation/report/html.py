# SPDX-License-Identifier: Apache-2.0
"""Pages, small pieces of HTML, and numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path


def page(title: str, parts: Iterable[str], script: str = "") -> str:
    """A whole file that needs nothing beside it.

    Args:
        parts: HTML, one after the other. script: JavaScript that runs after them.
    """
    code = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_style_sheet()}</style></head>"
        f"<body><main>{''.join(parts)}</main>{code}</body></html>\n"
    )


def _style_sheet() -> str:
    """The page's CSS; every colour in it is a variable with a light and a dark value."""
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")


def section(title: str, text: str, content: str) -> str:
    """Content under a heading, with a soft line between unless that is empty."""
    soft = f'<p class="soft">{escape(text)}</p>' if text else ""
    return f"<section><h2>{escape(title)}</h2>{soft}{content}</section>"


def definitions(entries: Mapping[str, str]) -> str:
    """Names, their underscores as spaces, and what they stand for, on a card."""
    lines = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>"
        for name, text in entries.items()
    )
    return card(f"<dl>{lines}</dl>")


def milliseconds(seconds: float | None) -> str:
    """``12.3 ms``; a dash for nothing."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    value = seconds * 1e3
    return (
        f"{value:.0f} ms"
        if value >= 100
        else f"{value:.1f} ms"
        if value >= 1
        else f"{value:.2f} ms"
    )


def number(value: float | None, digits: int = 3) -> str:
    """A few significant digits; a dash for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    return "0" if value == 0 else f"{value:.{digits}g}"


def percent(share: float) -> str:
    """``12 %``; a decimal where it is small."""
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1f} %"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML already."""
    header = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def card(content: str) -> str:
    """Content on a card."""
    return f'<div class="card">{content}</div>'


def figure(title: str, chart: str) -> str:
    """A chart under its title."""
    return f"<div><h3>{escape(title)}</h3>{chart}</div>"


def tile(value: str, text: str) -> str:
    """One large figure with its meaning."""
    return f'<div class="tile"><b>{value}</b><span>{escape(text)}</span></div>'


def legend(entries: Sequence[tuple[int, str]], kind: str = "") -> str:
    """Colour (``--c<tone>``) and meaning."""
    items = "".join(
        f'<span><i class="{kind}" style="background:var(--c{tone})"></i>{escape(text)}</span>'
        for tone, text in entries
    )
    return f'<div class="legend">{items}</div>'


def badge(good: bool, text: str) -> str:
    """A coloured word."""
    return f'<span class="badge {"good" if good else "bad"}">{escape(text)}</span>'
