r"""What the formats share: how numbers are rounded, and names that are no plain text.

Numbers: `score` and `share` keep 6 significant digits, so that 3.2e-06 stays itself; `logit` keeps
5 decimals, which is what fp32 holds. Rounding never changes the order of two labels.

Names: a file name is bytes. Where they are not UTF-8, Python holds each odd byte as a lone
surrogate (`os.fsdecode`), which no UTF-8 output may contain.
"""

from __future__ import annotations

import math
import os
import re

__all__ = ["raw_name", "round_logit", "round_probability", "utf8"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def round_probability(value: float) -> float:
    """Keep 6 significant digits. Raises ValueError for a number that is not finite."""
    return _finite(float(f"{value:.6g}"))


def round_logit(value: float) -> float:
    """Keep 5 decimals. Raises ValueError for a number that is not finite."""
    return _finite(round(float(value), 5)) + 0.0  # -0.0 + 0.0 is 0.0


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no score: scoring lets only finite numbers through")
    return value


def utf8(text: str) -> str:
    """Return `text` with U+FFFD in place of whatever UTF-8 cannot hold."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def raw_name(name: str) -> bytes | None:
    """Return the bytes of a file name that is not UTF-8; None for one that is."""
    if name.isascii() or not _SURROGATE.search(name):
        return None
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:  # a surrogate that stands for no byte: no name this system made
        return name.encode("utf-8", "surrogatepass")
