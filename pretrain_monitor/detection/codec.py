"""Float arrays as JSON: exact to the bit, and eleven characters a number."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from .residual import Floats


def encode(array: Floats) -> dict[str, Any]:
    data = np.ascontiguousarray(array, dtype="<f8")
    return {"shape": list(data.shape), "float64": base64.b64encode(data.tobytes()).decode()}


def decode(record: dict[str, Any]) -> Floats:
    """
    >>> decode(encode(np.array([[0.1, np.nan]])))
    array([[0.1, nan]])
    """
    data = np.frombuffer(base64.b64decode(record["float64"]), dtype="<f8")
    return data.astype(np.float64).reshape(record["shape"])
