"""Numbers of a log that anybody may have written."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> float | None:
    """A number of a log as a float; None if it is none, or none that a chart can show."""
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
