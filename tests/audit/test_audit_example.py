from __future__ import annotations

from pathlib import Path

from forked import FRAMEWORKS, forker
from models_on_disk import save_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "audit_model" / "run.py"


def test_the_example_audits_a_model_without_a_log(tmp_path: Path):
    model = save_model(tmp_path / "model")
    arguments = [str(model), "--probes", "quick", "--out", str(tmp_path / "out")]
    done = forker(*FRAMEWORKS).run(str(EXAMPLE), arguments, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "not enough evidence"  # texts too short for a compressor
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"probes.json", "audit.md", "audit.html"}
