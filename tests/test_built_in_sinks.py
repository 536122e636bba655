from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pretrain_monitor import Monitor, Sample
from pretrain_monitor.config import ConfigError, load_config

QUIET = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}


def test_settings_alone_give_lines_of_json_and_a_file_for_prometheus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "run.prom"
    settings = {"json_lines": {"enabled": True, "samples_every": 10}, "prometheus": {"path": str(file)}}
    monitor = Monitor(tmp_path / "night", {**QUIET, **settings})
    monitor.start()
    for step in range(1, 31):
        monitor.observe(Sample(step, {"loss": float("nan") if step == 20 else 2.0}))
    monitor.finish()
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["step"] for record in records if record["type"] == "sample"] == [10, 20, 30]
    assert {record["kind"] for record in records if record["type"] == "incident"} == {"nonfinite"}
    assert records[-1]["type"] == "end"
    assert 'pretrain_monitor_step{run="night"} 30' in file.read_text(encoding="utf-8")


def test_a_file_that_nobody_would_read_is_refused_at_the_door():
    with pytest.raises(ConfigError, match="node_exporter reads files that end in"):
        load_config({"prometheus": {"path": "metrics.txt"}})


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
def test_loggers_of_lightning_get_what_was_expected_beside_what_came(tmp_path: Path):
    import sys

    sys.path.insert(0, str(Path(__file__).parent / "callbacks"))
    from lightning.pytorch.loggers import CSVLogger
    from lightning_parts import TinyLM, loader, rows, trainer

    from pretrain_monitor.callbacks.lightning import MonitorCallback

    watch = MonitorCallback(tmp_path / "run", {**QUIET, "trackers": {"enabled": True, "every_steps": 5}})
    own = CSVLogger(str(tmp_path), name="csv")
    run = trainer(watch, logger=own, max_epochs=None, max_steps=200)
    run.fit(TinyLM(), loader(rows(4 * 210)))
    own.save()
    with (Path(own.log_dir) / "metrics.csv").open(encoding="utf-8") as table:
        found = [row for row in csv.DictReader(table) if row.get("pretrain_monitor/loss/expected")]
    assert found
    assert all(float(row["pretrain_monitor/loss/lower"]) < float(row["pretrain_monitor/loss/upper"]) for row in found)
