"""The log of another program as a run directory of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .config import ConfigError, MonitorConfig
from .detection.detector import InstabilityDetector
from .printable import shown_path
from .readers import LogError, read_run
from .readers.notes import ReadNotes
from .run_settings import write_settings
from .rundir import FILE_NAME
from .runlog import RunLog
from .telemetry import Sample

CONVERTED = "converted from"  # what the end of such a run begins with


def convert_log(path: str | Path, run_dir: str | Path, *, pattern: str | None = None) -> int:
    """Write a run directory as a monitored training leaves it, with the incidents that are found on the way.

    ``read_run`` gives the same samples from both.

    Args:
        path: anything that ``read_run`` reads.
        pattern: as ``read_run`` takes it.

    Returns:
        how many samples it has.

    Raises:
        LogError: the log cannot be read; what could be is in the directory, whose end says so.
        ConfigError: the directory holds a run already.
        RunDirectoryError: it cannot be written.
    """
    target = Path(run_dir)
    notes = ReadNotes()
    samples = read_run(path, pattern=pattern, notes=notes)
    try:
        is_taken = (target / FILE_NAME).exists()
    except OSError as error:
        raise ConfigError(f"{shown_path(target)}: cannot be written: {error.strerror}") from None
    if is_taken:
        raise ConfigError(f"{shown_path(target)}: there is a run in it already; name a directory that is not there yet")
    log = RunLog(target)
    try:
        log.begin(None, note=f"{CONVERTED} {notes.source}")
        config = MonitorConfig()
        write_settings(target, config)
        return _write(log, samples, config, notes)
    finally:
        log.close()


def _write(log: RunLog, samples: Iterator[Sample], config: MonitorConfig, notes: ReadNotes) -> int:
    detector = InstabilityDetector(config)
    count = snapshot = 0
    broken = ""
    try:
        for sample in samples:
            log.write(sample, detector.update(sample))
            count += 1
            if sample.step - snapshot >= config.snapshot_steps:
                snapshot = sample.step
                log.write_snapshot(snapshot, config.detection_key(), detector.state_dict())
    except LogError:
        broken = "the log that it was converted from cannot be read any further"
        raise
    finally:
        log.write_events(detector.finish())
        # Not "finished": how the run ended is more than its log says.
        log.end(detector.last_step or 0, broken or "; ".join([f"{CONVERTED} {notes.source}", *notes.sentences]))
    return count
