"""The detector over a log instead of in a run: the same samples give the same incidents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .config import MonitorConfig
from .detection.detector import InstabilityDetector
from .readers import LogError, read_run
from .run_settings import own_settings
from .telemetry import Incident, Sample, in_order


def replay(
    path_or_samples: str | Path | Iterable[Sample],
    config: MonitorConfig | Mapping[str, Any] | str | Path | None = None,
) -> list[Incident]:
    """Run the detector over a log or over samples; the incidents in their final state, in order of onset.

    >>> [str(incident.kind) for incident in replay([Sample(1, {"loss": float("nan")})])]
    ['nonfinite']

    Args:
        config: None stands for the settings a run was watched with, as its directory holds them; for any other log and
            for samples for the defaults.

    Raises:
        LogError: the log cannot be read; one line for the user.
        ConfigError: a setting that does not exist or cannot be used.
    """
    samples: Iterable[Sample]
    if isinstance(path_or_samples, str | Path):
        samples = read_run(path_or_samples)
        config = own_settings(Path(path_or_samples)) if config is None else config
    else:
        samples = path_or_samples
    detector = InstabilityDetector(config)
    try:
        for sample in samples:
            detector.update(sample)
    except ValueError as error:
        if isinstance(error, LogError) or not isinstance(path_or_samples, str | Path):
            raise
        raise LogError(f"{path_or_samples}: {error}") from None
    detector.finish()
    return in_order(detector.incidents)
