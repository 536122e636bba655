"""Rivals through their own packages, as far as they are installed: lightning always is, in the development extra."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection import packages, rules
from benchmarks.detection.curves import Curve
from benchmarks.detection.packages import Package, River, importable

ROOT = Path(__file__).resolve().parents[2]

# Re-implementation and package that have to fire alike.
TWINS = {
    "trainscope changepoint": "trainscope changepoint (package)",
    "trainscope z_score": "trainscope z_score (package)",
    "trainscope percentile": "trainscope percentile (package)",
    "llmreport": "llmreport (package)",
    "trainpulse": "trainpulse (package)",
    "trainpulse without plateau": "trainpulse without plateau (package)",
    "ZClip": "zclip (package)",
    "Lightning SpikeDetection": "lightning SpikeDetection (package)",
    "trainspotter": "trainspotter (package)",
    "trainspotter, errors": "trainspotter errors (package)",
    "losslint": "losslint (package)",
    "runmedic": "runmedic (package)",
    "gradsnitch": "gradsnitch (package)",
}


def troubled(seed: int, rows: int = 600) -> Curve:
    """Spikes, a burst, a shift and, in every second curve, values that are not finite.

    Few enough that the findings of losslint and runmedic can list them all.
    """
    rng = np.random.default_rng(seed)
    loss = 2.4 + 4 * np.exp(-np.arange(rows) / 60) + 0.03 * rng.standard_t(5, rows)
    norm = 0.5 * np.exp(0.18 * rng.standard_normal(rows))
    rate = np.full(rows, 3e-4)
    for row in rng.integers(80, rows, 3):
        loss[row] += rng.choice([0.4, 2.0, 40.0])
        norm[row] *= rng.choice([1.0, 15.0, 400.0])
    loss[300:304] += 3
    loss[450:] += (0.0, 0.4)[seed % 2]
    rate[500:] *= (1.0, 30.0, 0.01)[seed % 3]
    if seed % 2:
        loss[rng.integers(80, rows)] = rng.choice([np.nan, np.inf])
        norm[rng.integers(80, rows)] = rng.choice([np.nan, np.inf])
    return Curve("made", "made", np.arange(rows) * 10, loss, {"grad_norm": norm, "learning_rate": rate})


def test_what_cannot_be_imported_is_named_with_the_extra_that_has_it() -> None:
    missing = [Package("no-such-rival", "no_such_rival", lambda *_: []) for _ in range(2)]
    assert importable(missing) == ([], ["no-such-rival is not installed: pip install 'pretrain-monitor[bench-peers]'"])


def test_an_installed_package_that_fails_to_import_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_a_rival.py").write_text("import no_such_dependency\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    _, (notice,) = importable([Package("numpy", "half_a_rival", lambda *_: [])])
    assert re.fullmatch(
        r"numpy \S+ cannot be imported \(No module named 'no_such_dependency'\): pip install .*", notice
    )


def test_every_known_rival_is_either_found_or_named() -> None:
    found, notices = packages.baselines()
    named = {notice.split()[0] for notice in notices}
    for known in packages._KNOWN:
        assert (known in found) != (known.distribution in named)
    assert len({detector.name for detector in [*found, *rules.baselines()]}) == len(found) + len(rules.baselines())


def test_the_extra_holds_every_known_rival() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[<>=]", line)[0] for line in project["optional-dependencies"]["bench-peers"]}
    assert wanted == {known.distribution for known in packages._KNOWN}


def test_packages_and_re_implementations_fire_on_the_same_rows() -> None:
    own = {detector.name: detector for detector in rules.baselines()}
    installed = {detector.name: detector for detector in packages.baselines()[0]}
    assert TWINS["Lightning SpikeDetection"] in installed
    for name, twin in TWINS.items():
        if twin not in installed:
            continue  # test_every_known_rival_is_either_found_or_named tells of it
        for seed in range(4):
            curve = troubled(seed)
            ours = {f.row for f in own[name].detect(curve) if f.is_alert}
            theirs = {f.row for f in installed[twin].detect(curve) if f.is_alert}
            assert ours == theirs, f"{name}, seed {seed}"


def test_a_package_can_be_sent_to_another_process() -> None:
    for known in packages._KNOWN:
        assert pickle.loads(pickle.dumps(known)).name == known.name


@pytest.mark.parametrize("known", [k for k in packages._KNOWN if isinstance(k, River)], ids=lambda known: known.name)
def test_a_drift_detector_has_its_default_among_its_limits_and_keeps_its_variant(known: River) -> None:
    assert list(known.limits) == sorted(set(known.limits))
    assert known in [known.with_limit(limit) for limit in known.limits]
    assert known.with_limit(7.0) == River(known.variant, 7.0, known.limits)


_PROGRAM = """
import json, sys
import numpy as np
from benchmarks.detection import packages
from benchmarks.detection.curves import Curve

calls = []
sys.addaudithook(lambda event, args: calls.append(event) if event in ("socket.connect", "socket.bind") else None)
rng = np.random.default_rng(0)
norm = np.exp(rng.standard_normal(200))
curve = Curve("c", "c", np.arange(200), 3 + rng.standard_normal(200), {"grad_norm": norm, "learning_rate": norm})
curve.loss[150] = np.nan
for detector in packages.baselines()[0]:
    detector.detect(curve)
print(json.dumps(calls))
"""


def test_rivals_leave_no_file_behind_and_open_no_connection(tmp_path: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}){_PROGRAM}"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == []
    assert list(tmp_path.iterdir()) == []
