"""What a Lightning Trainer can be made to do while it trains: save, stop, go back."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.types import _Stateful as Stateful
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy

from ..actions.checkpoints import KEPT, keep, newest_before, try_to_put_aside
from ..actions.decide import Good
from ..actions.orders import Order
from .acting import ActionError
from .rate_factor import RateFactor

_STEP_IN_NAME = re.compile(r"step=(\d+)")
_PROGRESS = {
    "epoch_loop.automatic_optimization.optim_progress": "automatic_optimization.optim_progress",
    "epoch_loop.manual_optimization.optim_step_progress": "manual_optimization.optim_step_progress",
    "epoch_loop.scheduler_progress": "scheduler_progress",
}


def hinders_loading(trainer: Trainer) -> str | None:
    """Name of a strategy under which nobody can load a checkpoint while the training goes on; None: one can."""
    strategy = trainer.strategy
    return type(strategy).__name__ if isinstance(strategy, DeepSpeedStrategy | FSDPStrategy) else None


class SavedCheckpoints:
    """Checkpoints that a training can go back to: those that it has saved, and those whose names say a step."""

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._saved: dict[str, int] = {}

    def attach(self, trainer: Trainer) -> None:
        """Listen to what the trainer saves; on the object, not on its class."""
        self.detach()
        self._trainer = trainer
        inner = trainer.save_checkpoint

        @functools.wraps(inner)
        def save_checkpoint(filepath: Any, weights_only: bool | None = None, *args: Any, **kwargs: Any) -> Any:
            result = inner(filepath, weights_only, *args, **kwargs)
            if not weights_only:
                self._saved[str(filepath)] = trainer.global_step
            return result

        trainer.save_checkpoint = save_checkpoint
        if trainer.ckpt_path is not None:
            self._saved[str(trainer.ckpt_path)] = trainer.global_step

    def detach(self) -> None:
        if self._trainer is not None:
            vars(self._trainer).pop("save_checkpoint", None)
            self._trainer = None

    def found(self) -> list[Good]:
        saved = dict(self._saved)
        for folder in map(Path, self._folders()):
            for path in (*folder.glob("*.ckpt"), *folder.glob(f"{KEPT}/*.ckpt")):
                if str(path) not in saved and (name := _STEP_IN_NAME.search(path.name)):
                    saved[str(path)] = int(name[1])
        return [Good(step, path) for path, step in saved.items() if Path(path).exists()]

    def before(self, step: int) -> Good | None:
        return newest_before(self.found(), step)

    def moved(self, path: str) -> None:
        self._saved.pop(path, None)

    def folder(self) -> Path:
        """Where a checkpoint that is ordered goes."""
        assert self._trainer is not None
        return Path(next(iter(self._folders()), Path(self._trainer.default_root_dir) / "checkpoints"))

    def _folders(self) -> list[str]:
        callbacks = () if self._trainer is None else self._trainer.checkpoint_callbacks
        return [str(one.dirpath) for one in callbacks if getattr(one, "dirpath", None)]


class LightningHands:
    """Acts on one trainer, from within the end of a batch.

    Args:
        rate: what the learning rate is multiplied by.
        went_back: told of a rewind when the trainer is where it was, before it goes on.
    """

    def __init__(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        saved: SavedCheckpoints,
        rate: RateFactor,
        went_back: Callable[[Order, int], None],
    ) -> None:
        self._trainer = trainer
        self._module = pl_module
        self._saved = saved
        self._rate = rate
        self._went_back = went_back
        self.exit_status: int | None = None
        self._from_step = 0

    @property
    def step(self) -> int:
        return int(self._trainer.global_step)

    def facts_for_restart(self) -> Mapping[str, Any]:
        return {}

    def put_aside(self, step: int) -> None:
        for later in self._saved.found():
            if later.step > step:
                if self._trainer.is_global_zero:
                    try_to_put_aside(Path(later.path))
                self._saved.moved(later.path)

    def checkpoint(self, order: Order) -> Mapping[str, Any]:
        details: dict[str, Any] = {}
        kept = order.details.get("checkpoint") if order.details["keep"] else None
        if kept is not None and self._trainer.is_global_zero:
            try:
                details["kept"] = str(keep(Path(kept), int(order.details["to_step"])))
            except OSError as error:
                details["not_kept"] = f"{kept}: {error.strerror}"
        parts = []
        if order.details["save"]:
            details["path"] = self._save("incident")
            parts.append(f"a checkpoint of step {self._trainer.global_step:,}")
        parts += [f"the one of step {order.details['to_step']:,}"] if "kept" in details else []
        return {**details, "saved": " and ".join(parts) or "nothing"}

    def stop(self, order: Order) -> Mapping[str, Any]:
        trainer = self._trainer
        details = {"path": self._save("stopped")} if order.details["save"] else {}
        # What was ordered goes before the least that was planned.
        trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None
        trainer.should_stop = True
        self.exit_status = order.details["exit_status"]
        return details

    def lower_lr(self, order: Order) -> Mapping[str, Any]:
        details = order.details
        value = self._rate.lower(
            self._trainer.optimizers,
            details["factor"],
            step=self._trainer.global_step,
            hold_steps=details["hold_steps"],
            ramp_steps=details["ramp_steps"],
        )
        return {"factor": value}

    def check_rewind(self, order: Order) -> None:
        trainer, path = self._trainer, order.details["checkpoint"]
        if name := hinders_loading(trainer):
            raise ActionError(f"under {name} nobody can load a checkpoint while the training goes on")
        if not Path(path).exists():
            raise ActionError(f"{path}: no such checkpoint")

    def load(self, order: Order) -> None:
        self._from_step = self._trainer.global_step
        self._load(order.details["checkpoint"])

    def settle_rewind(self, order: Order) -> None:
        trainer, to_step, gone = self._trainer, int(order.details["to_step"]), self._from_step
        self.put_aside(to_step)
        skipped = self._read_past(max(0, int(order.details["skip_steps"]) - (gone - to_step)))
        self._rate.rewound(to_step, trainer.optimizers)
        factor = order.details.get("lr_factor")
        if factor is not None:
            self._rate.lower(trainer.optimizers, factor, step=to_step, ramp_steps=order.details["ramp_steps"])
        facts = {"from_step": gone, "skipped_steps": gone - to_step + skipped}
        told = Order(order.do, order.step, order.reason, order.incident, {**order.details, **facts})
        self._went_back(told, to_step)

    def _load(self, path: str) -> None:
        """All that ``fit(ckpt_path=...)`` restores, but for the place in the data, into the objects that are there."""
        trainer = self._trainer
        connector = trainer._checkpoint_connector
        resumed_from = connector._ckpt_path
        connector.resume_start(path, weights_only=False)
        loaded = connector._loaded_checkpoint
        try:
            connector.restore_model()
            connector.restore_callbacks()
            connector.restore_precision_plugin_state()
            connector.restore_optimizers_and_schedulers()
        finally:
            connector._ckpt_path, connector._loaded_checkpoint = resumed_from, {}
        epoch_loop = trainer.fit_loop.epoch_loop
        saved = loaded["loops"]["fit_loop"]
        for key, name in _PROGRESS.items():
            functools.reduce(getattr, name.split("."), epoch_loop).load_state_dict(saved[key])
        # Counted up at the end of the batch that is under way, as it was after this was saved.
        epoch_loop._batches_that_stepped = saved["epoch_loop.state_dict"]["_batches_that_stepped"]
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                callback._last_global_step_saved = trainer.global_step
        self._module.zero_grad()

    def resume_data(self, steps: int) -> None:
        """Before the first batch of a training that has resumed: leave out so much of the data that comes next.

        A loader that keeps no state of its own begins its pass anew: it is brought to where the checkpoint was first.
        What this pass does not have is left out of the next. The last batch of a pass stays: Lightning would take a
        pass without any for one that has not begun.
        """
        trainer, left = self._trainer, steps
        loop = trainer.fit_loop
        epoch_loop = loop.epoch_loop
        inner, is_first = epoch_loop.on_run_start, True

        def on_run_start(fetcher: Any) -> None:
            nonlocal left, is_first
            inner(fetcher)
            ready = epoch_loop.batch_progress.current.ready
            if is_first and not all(isinstance(loader, Stateful) for loader in loop._combined_loader.flattened):
                fetcher.fetched -= ready  # it counts them already
                for _ in range(ready):
                    next(fetcher)
            is_first = False
            most = left
            if math.isfinite(trainer.num_training_batches):
                rest = int(trainer.num_training_batches) - ready - 1
                most = min(left, max(0, rest // trainer.accumulate_grad_batches))
            left -= self._read_past(most)
            if not left:
                vars(epoch_loop).pop("on_run_start", None)

        epoch_loop.on_run_start = on_run_start

    def _read_past(self, steps: int) -> int:
        """Leave out data that comes next, to the end of this pass over it at most; how many steps' worth it was."""
        loop = self._trainer.fit_loop
        fetcher, progress = loop._data_fetcher, loop.epoch_loop.batch_progress
        for done in range(steps):
            for _ in range(self._trainer.accumulate_grad_batches):
                if fetcher.done:
                    return done
                next(fetcher)
                progress.increment_ready()
                progress.increment_started()
                progress.increment_processed()
                progress.increment_completed()
                progress.is_last_batch = fetcher.done
        return steps

    def _save(self, what: str) -> str:
        path = str(self._saved.folder() / f"{what}-step={self._trainer.global_step}.ckpt")
        self._trainer.save_checkpoint(path)
        return path
