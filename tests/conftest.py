from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# tests/curves.py and the like are plain modules beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

# Files that take long, the longest first. Each file goes to one worker as a whole: many have a fixture that starts
# several processes, and on two workers it would be made twice.
_LONGEST = (
    "test_probe_ranks", "test_explain_command", "test_huggingface_probes", "test_examples", "test_docs",
    "test_plugin_page", "test_loop_ranks", "test_huggingface_ranks", "test_loop", "test_action_ranks",
    "test_lightning_probes", "test_lightning_ranks", "test_run", "test_restarting", "test_install", "test_trackers",
    "test_report_page", "test_audit_command",
    "test_huggingface_resume", "test_huggingface_actions", "test_cli", "test_probe_command",
)  # fmt: skip
_PLACES = {name: place for place, name in enumerate(_LONGEST)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker begins with one when the other has nothing left to do."""
    items.sort(key=lambda item: _PLACES.get(item.path.stem, len(_LONGEST)))


@pytest.fixture(autouse=True)
def _logging_is_left_on() -> Iterator[None]:
    """A test that switches logging off would let the ones after it look for lines that are never written."""
    yield
    left = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    assert left == logging.NOTSET, f"logging was left disabled at level {left}"
