from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# tests/curves.py and the like are plain modules beside the tests.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _logging_is_left_on() -> Iterator[None]:
    """A test that switches logging off would let the ones after it look for lines that are never written."""
    yield
    left = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    assert left == logging.NOTSET, f"logging was left disabled at level {left}"
