from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# tests/curves.py and the like are plain modules beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

# Fixtures that start several processes, or train for long, once for all tests of their module.
_LONG_STARTS = {
    "test_probe_ranks": {"two", "three"},
    "test_huggingface_probes": {"ranks"},
    "test_huggingface_ranks": {"healthy"},
    "test_action_ranks": {"ended"},
    "test_lightning_probes": {"ranks"},
    "test_lightning_ranks": {"directory", "ranks"},
    "test_loop_ranks": {"healthy"},
    "test_plugin_page": {"site"},
}


@pytest.hookimpl(tryfirst=True)  # before xdist writes groups into the names of tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share such a fixture go to one worker, and first: on two it would be made twice, and late."""
    long = []
    for item in items:
        module = Path(str(item.path)).stem
        if _LONG_STARTS.get(module, set()).intersection(getattr(item, "fixturenames", ())):
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(module))
            long.append(item)
    chosen = set(map(id, long))
    items[:] = [*long, *(item for item in items if id(item) not in chosen)]


@pytest.fixture(autouse=True)
def _logging_is_left_on() -> Iterator[None]:
    """A test that switches logging off would let the ones after it look for lines that are never written."""
    yield
    left = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    assert left == logging.NOTSET, f"logging was left disabled at level {left}"
