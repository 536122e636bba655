"""A run with one spike in a program that logs to a tracker itself; prints as JSON what the tracker then holds.

Arguments: the tracker, and whether the program finishes its run before the monitor does (``early`` or ``late``).
"""

from __future__ import annotations

import json
import logging
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from curves import healthy_run, samples

from pretrain_monitor import Monitor
from pretrain_monitor.sinks.trackers import TrackerSink

STEPS, SPIKE = 400, 300


def train(log: Callable[[int, float], None], sink: TrackerSink, finish: Callable[[], None], *, is_early: bool) -> None:
    run = healthy_run(STEPS, seed=0)
    run["loss"][SPIKE - 1 : SPIKE + 4] += 1.0
    run["grad_norm"][SPIKE - 1 : SPIKE + 4] *= 9
    monitor = Monitor(None, {"console": {"enabled": False}, "tensorboard": {"enabled": False}}, sinks=[sink])
    monitor.start()
    for sample in samples(run):
        log(sample.step, sample.metrics["loss"])
        monitor.observe(sample)
        time.sleep(0.003)
    if is_early:
        time.sleep(0.3)  # for what waits for the sink's thread
        finish()
    monitor.finish()
    if not is_early:
        finish()


def wandb(is_early: bool) -> dict[str, Any]:
    import wandb
    from wandb.proto import wandb_internal_pb2

    run = wandb.init(project="p")
    train(
        lambda step, loss: run.log({"loss": loss}, step=step), TrackerSink(every_steps=5), run.finish, is_early=is_early
    )
    wandb.teardown()  # finish() may return before the last block is in the file
    found: dict[str, Any] = {"rows": [], "alerts": [], "summary": {}, "steps_of": {}}
    (path,) = Path("wandb").glob("offline-run-*/*.wandb")
    for data in wandb_records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.HasField("history"):
            found["rows"].append(wandb_values(record.history.item))
        elif record.HasField("alert"):
            alert = record.alert
            found["alerts"].append([alert.title, alert.text, alert.level, alert.wait_duration])
        elif record.HasField("summary"):
            found["summary"].update(wandb_values(record.summary.update))
        elif record.HasField("metric"):
            found["steps_of"][record.metric.name] = record.metric.step_metric
    return found


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of a file in the log format of LevelDB, after a header of seven bytes."""
    position, block, record = 7, 32_768, b""
    while position + 7 <= len(data):
        left = block - position % block
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += 7
        record = (record if kind in (3, 4) else b"") + data[position : position + length]
        position += length
        if kind in (1, 4):
            yield record


def wandb_values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def trackio(is_early: bool) -> dict[str, Any]:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    run = trackio.init(project="p", auto_log_gpu=False, auto_log_cpu=False)
    train(lambda step, loss: trackio.log({"loss": loss}), TrackerSink(), trackio.finish, is_early=is_early)
    return {
        "rows": SQLiteStorage.get_logs("p", run.name),
        "alerts": [[one["title"], one["text"], one["level"]] for one in SQLiteStorage.get_alerts("p")],
    }


def mlflow(is_early: bool) -> dict[str, Any]:
    import mlflow

    mlflow.set_tracking_uri(Path("store").absolute().as_uri())
    run = mlflow.start_run()

    def log(step: int, loss: float) -> None:
        if step % 20 == 0:
            mlflow.log_metric("loss", loss, step=step)

    train(log, TrackerSink(), mlflow.end_run, is_early=is_early)
    return mlflow_run(mlflow.MlflowClient(), run.info.run_id)


def mlflow_run(client: Any, run_id: str) -> dict[str, Any]:
    data = client.get_run(run_id).data
    history = {
        name: [[one.step, one.value] for one in client.get_metric_history(run_id, name)] for name in data.metrics
    }
    tags = {name: value for name, value in data.tags.items() if name.startswith("pretrain_monitor")}
    return {"history": history, "tags": tags, "status": client.get_run(run_id).info.status}


def lightning(is_early: bool) -> dict[str, Any]:
    from lightning.pytorch.loggers import CSVLogger, MLFlowLogger

    csv = CSVLogger("csv", flush_logs_every_n_steps=7)
    mlflow = MLFlowLogger("p", tracking_uri=Path("store").absolute().as_uri())

    def log(step: int, loss: float) -> None:
        csv.log_metrics({"loss": loss}, step=step)

    def finish() -> None:
        csv.finalize("success")
        mlflow.finalize("success")

    train(log, TrackerSink([csv, mlflow]), finish, is_early=is_early)
    file = Path(csv.log_dir) / "metrics.csv"
    return {"csv": file.read_text(), "mlflow": mlflow_run(mlflow.experiment, mlflow.run_id)}


def idle(is_early: bool) -> dict[str, Any]:
    """All are imported, none has a run."""
    import mlflow
    import trackio
    import wandb

    train(lambda step, loss: None, TrackerSink(), lambda: None, is_early=is_early)
    runs = [wandb.run, mlflow.active_run(), trackio.context_vars.current_run.get()]
    return {"runs": runs, "files": [str(path) for path in Path().rglob("*")]}


def absent(is_early: bool) -> dict[str, Any]:
    train(lambda step, loss: None, TrackerSink(), lambda: None, is_early=is_early)
    return {"imported": [name for name in ("wandb", "trackio", "mlflow", "lightning") if name in sys.modules]}


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="LOGGED %(message)s")
    found = globals()[sys.argv[1]](sys.argv[2] == "early")
    print("\nFOUND " + json.dumps(found))
