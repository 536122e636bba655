"""Decides whether and where a run is drawn in TensorBoard."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import TensorBoardConfig
from .tags import ALERT_RUN, SHARED_PREFIX

if TYPE_CHECKING:
    from .sink import TensorBoardSink

logger = logging.getLogger(__name__)

DIRECTORY = "tensorboard"


def open_panels(
    config: TensorBoardConfig, run_dir: Path | None, summary_writer: Any, step: int
) -> TensorBoardSink | None:
    """The sink that draws a run; None where there is nothing to draw into or with. Never raises.

    With a trainer's writer everything goes into the trainer's run, each tag under ``monitor/``: trainers write a
    ``train/loss`` of their own, which is a mean over their logging interval. Without one it goes into an event file of
    our own in ``run_dir/tensorboard``, as ``train/loss`` and so on.

    A resumed run supersedes what was drawn past ``step``, in a shared writer the trainer's own curves too: so far it
    got, and from there it goes on.

    Args:
        run_dir: where an event file of our own may be made.
        summary_writer: the trainer's writer: anything with ``add_summary(summary, global_step)``, such as torch's
            ``FileWriter``.
        step: optimizer steps completed when watching begins.
    """
    shared = summary_writer if config.share_writer else None
    if shared is None and run_dir is None:
        return None
    try:
        return _open(config, run_dir, shared, step)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorboard":
            raise
        logger.warning("nothing is drawn in TensorBoard: pip install 'pretrain-monitor[tensorboard]'")
    except Exception:
        logger.exception("nothing is drawn in TensorBoard; training goes on")
    return None


def _open(config: TensorBoardConfig, run_dir: Path | None, shared: Any, step: int) -> TensorBoardSink:
    from .sink import TensorBoardSink
    from .writers import LazyWriter, OwnWriter, SharedWriter, has_event_files

    own_dir = None if run_dir is None else run_dir / DIRECTORY
    if shared is not None:
        shared_writer = SharedWriter(shared, config.flush_secs)
        alerts_in = shared_writer.logdir or own_dir
        alerts = None if alerts_in is None else LazyWriter(alerts_in / ALERT_RUN, config.flush_secs)
        return TensorBoardSink(shared_writer, alerts, step=step, has_past=step > 0, prefix=SHARED_PREFIX)
    assert own_dir is not None
    has_past = has_event_files(own_dir)
    alerts = LazyWriter(own_dir / ALERT_RUN, config.flush_secs)
    return TensorBoardSink(OwnWriter(own_dir, config.flush_secs), alerts, step=step, has_past=has_past)
