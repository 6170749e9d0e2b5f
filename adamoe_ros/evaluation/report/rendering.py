# SPDX-License-Identifier: Apache-2.0
"""Pages from jinja2 templates in ``templates/``, and numbers as people read them.

``parts.html`` has the pieces that every page uses, ``page.html`` what is around them. Text is escaped
by jinja2; charts of ``svg`` come as ``Markup``.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adamoe_ros.data import svg


def render(template: str, **values: Any) -> str:
    """A page, or a part of one, from ``templates/<template>``."""
    return environment().get_template(template).render(**values)


@cache
def environment() -> Environment:
    """Of jinja2, with ``templates/`` and the filters of this module."""
    made = Environment(
        loader=PackageLoader("adamoe_ros.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (milliseconds, number, percent, data_url, shown)
    made.filters |= {filter_.__name__: filter_ for filter_ in filters}
    made.globals["chart_style"] = Markup(svg.style_sheet())
    return made


def milliseconds(seconds: float | None) -> str:
    """``12.3 ms``; a dash for nothing."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    value = seconds * 1e3
    digits = 0 if value >= 100 else 1 if value >= 1 else 2
    return f"{value:.{digits}f} ms"


def number(value: float | None, digits: int = 3) -> str:
    """A few significant digits; a dash for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    short = f"{value:.{digits}g}"
    return f"{float(short):.0f}" if 1000 <= abs(value) < 1e6 else short


def percent(share: float) -> str:
    """``12 %``; a decimal where it is small."""
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1f} %"


def data_url(content: bytes, kind: str) -> str:
    """Content inside of the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def shown(value: Any) -> str:
    """A setting for a person: lists with commas, mappings without braces, ranges short, files by name."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return " · ".join(f"{key} {shown(item)}".replace("_", " ") for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return _list(list(value))
    if isinstance(value, PurePath) or re.fullmatch(r"(/[^/\s]+){2,}/?", str(value)):
        return PurePath(value).name
    return str(value)


def _list(items: list[Any]) -> str:
    whole = all(isinstance(item, int) and not isinstance(item, bool) for item in items)
    if whole and len(items) > 2 and items == list(range(items[0], items[0] + len(items))):
        return f"{items[0]} … {items[-1]}"
    separator = "; " if any(isinstance(item, Mapping) for item in items) else ", "
    return separator.join(map(shown, items)) or "none"
