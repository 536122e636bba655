"""Every Python block of the README and the docs runs as pasted, and every command in them exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from forked import FRAMEWORKS, forker

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_snippet_runs_as_pasted(block: str, tmp_path: Path):
    script = tmp_path / "snippet.py"
    script.write_text(block)
    done = forker(*FRAMEWORKS).run(script.name, cwd=tmp_path, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_readme_has_a_snippet_for_each_framework():
    text = "".join(str(block.values[0]) for block in BLOCKS)
    for name in ("callbacks.huggingface", "callbacks.lightning", "callbacks.loop"):
        assert f"from pretrain_monitor.{name} import" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    assert all((page.parent / link).exists() for link in links if "://" not in link), links


def test_every_command_that_is_shown_exists():
    shown = {
        name for page in PAGES for name in re.findall(r"^pretrain-monitor (\w[\w-]*)", page.read_text(), re.MULTILINE)
    }
    out = subprocess.run(
        [sys.executable, "-c", "from pretrain_monitor.cli import main; main()", "--help"],
        capture_output=True,
        text=True,
    ).stdout
    known = set(re.findall(r"^  (\w[\w-]*) ", out, re.MULTILINE))
    assert shown
    assert shown <= known


def test_the_settings_page_lists_every_setting_with_its_default():
    from pretrain_monitor import MonitorConfig

    page = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*?) \|", page, re.MULTILINE))
    expected = {}
    for name, value in MonitorConfig().model_dump().items():
        if isinstance(value, dict):
            expected.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            expected[name] = value
    assert rows == {name: str(value).lower() for name, value in expected.items()}
