"""What importing the package costs. Each check needs a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def test_importing_the_package_loads_neither_torch_nor_a_framework_nor_anything_heavy():
    heavy = "torch", "transformers", "lightning", "tensorboard", "pydantic", "ruptures", "scipy", "rich", "typer"
    out = run_python(f"import sys, pretrain_monitor; print([m for m in {heavy!r} if m in sys.modules])")
    assert out.strip() == "[]"


@pytest.mark.parametrize("name", ["Monitor", "InstabilityDetector", "replay", "read_run", "MonitorConfig", "Sample"])
def test_no_public_name_of_the_core_needs_torch(name: str):
    out = run_python(f"import sys; from pretrain_monitor import {name}; print('torch' in sys.modules)")
    assert out.strip() == "False"


def test_every_public_name_is_there_and_has_a_docstring():
    import pretrain_monitor

    for name in pretrain_monitor.__all__:
        if name != "__version__":
            assert getattr(pretrain_monitor, name).__doc__, name
    assert sorted(pretrain_monitor.__all__) == dir(pretrain_monitor)


def test_an_unknown_name_is_an_attribute_error():
    import pretrain_monitor

    with pytest.raises(AttributeError, match="Moniter"):
        pretrain_monitor.Moniter  # noqa: B018
