"""The package as a newcomer gets it: built as a wheel, installed with no extras, in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_core_installs_without_torch_and_its_commands_work(tmp_path: Path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    command = tmp_path / "venv" / "bin" / "pretrain-monitor"
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", str(ROOT)], check=True, timeout=280)
    has_torch = subprocess.run([python, "-c", "import torch"], capture_output=True)
    assert has_torch.returncode == 1

    (package,) = (tmp_path / "venv" / "lib").glob("python*/site-packages/pretrain_monitor")
    for script in ("web/chart.js", "web/style.css", "tensorboard/plugin/page/app.js"):
        assert (package / script).is_file(), "the page of the TensorBoard tab is part of the package"

    log = tmp_path / "log.csv"
    log.write_text("step,loss\n" + "".join(f"{i},{2.5 if i != 150 else 'nan'}\n" for i in range(300)))
    for arguments, said in (
        (["--help"], "replay"),
        (["--version"], "0."),
        (["replay", log], "loss became NaN"),
    ):
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert said in " ".join(done.stdout.split())

    unknown = subprocess.run([command, "probe", "m", "--probes", "qick"], capture_output=True, text=True, timeout=60)
    assert "presets are domains, quick, tasks, tokenization" in unknown.stderr, "they are part of the package"
    missing = subprocess.run([command, "demo", "--framework", "torch"], capture_output=True, text=True, timeout=60)
    assert missing.returncode == 2
    assert "pip install" in missing.stderr
    assert "Traceback" not in missing.stderr
    loop = subprocess.run(
        [python, "-c", "import pretrain_monitor.callbacks.loop"], capture_output=True, text=True, timeout=60
    )
    assert "pip install" in loop.stderr, "the missing extra is named"
    assert sys.version_info >= (3, 11)
