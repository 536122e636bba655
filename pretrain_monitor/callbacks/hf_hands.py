"""What a Hugging Face Trainer can be made to do while it trains: save, stop, go back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerState

from ..actions.checkpoints import KEPT, keep, newest_before, try_to_put_aside
from ..actions.decide import Good
from ..actions.orders import Order
from .acting import ActionError
from .rate_factor import RateFactor

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_STATE = "trainer_state.json"  # written last, so a checkpoint that has it is whole
CANNOT_LOAD = "DeepSpeed and FSDP on XLA cannot load a checkpoint while they train"


class TrainerHands:
    """Acts on one trainer, from within its ``on_step_end``.

    Args:
        trainer: attached to.
        control: of the present hook; told what the trainer is to do next.
        rate: what the learning rate is multiplied by.
        went_back: told of a rewind when the trainer is where it was, before it goes on.
    """

    def __init__(self, trainer: Any, control: Any, rate: RateFactor, went_back: Callable[[Order, int], None]) -> None:
        self._trainer = trainer
        self._control = control
        self._rate = rate
        self._went_back = went_back
        self.exit_status: int | None = None
        self._from_step = 0
        self.skip_steps = 0  # of data, before the next step

    @property
    def step(self) -> int:
        return int(self._trainer.state.global_step)

    def facts_for_restart(self) -> Mapping[str, Any]:
        return {}

    def put_aside(self, step: int) -> None:
        if self._trainer.is_world_process_zero():
            for later in found_checkpoints(self._trainer):
                if later.step > step:
                    try_to_put_aside(Path(later.path))

    def checkpoint(self, order: Order) -> Mapping[str, Any]:
        details: dict[str, Any] = {"saved": "nothing"}
        kept = order.details.get("checkpoint") if order.details["keep"] else None
        if kept is not None and self._trainer.is_world_process_zero():
            try:
                details["kept"] = str(keep(Path(kept), int(order.details["to_step"])))
            except OSError as error:
                details["not_kept"] = f"{kept}: {error.strerror}"
        if order.details["save"]:
            self._control.should_save = True
        parts = [f"a checkpoint of step {self._trainer.state.global_step:,}"] if order.details["save"] else []
        parts += [f"the one of step {order.details['to_step']:,}"] if "kept" in details else []
        return {**details, "saved": " and ".join(parts) or "nothing"}

    def stop(self, order: Order) -> Mapping[str, Any]:
        self._control.should_training_stop = True
        self._control.should_save = self._control.should_save or bool(order.details["save"])
        self.exit_status = order.details["exit_status"]
        return {}

    def lower_lr(self, order: Order) -> Mapping[str, Any]:
        details = order.details
        value = self._rate.lower(
            [self._trainer.optimizer],
            details["factor"],
            step=self._trainer.state.global_step,
            hold_steps=details["hold_steps"],
            ramp_steps=details["ramp_steps"],
        )
        return {"factor": value}

    def check_rewind(self, order: Order) -> None:
        trainer, path = self._trainer, Path(order.details["checkpoint"])
        if hinders_loading(trainer):
            raise ActionError(CANNOT_LOAD)
        if not (path / _STATE).is_file():
            raise ActionError(f"{path}: no whole checkpoint")

    def load(self, order: Order) -> None:
        trainer, path = self._trainer, order.details["checkpoint"]
        self._from_step = trainer.state.global_step
        # All that a resumed training loads, into the objects that are there.
        trainer._load_from_checkpoint(path)
        trainer._load_optimizer_and_scheduler(path)
        trainer._load_scaler(path)
        trainer.optimizer.zero_grad()
        self._restore_state(TrainerState.load_from_json(str(Path(path) / _STATE)))

    def settle_rewind(self, order: Order) -> None:
        trainer, to_step, gone = self._trainer, int(order.details["to_step"]), self._from_step
        self.put_aside(to_step)
        self.skip_steps = max(0, int(order.details["skip_steps"]) - (gone - to_step))
        self._rate.rewound(to_step, [trainer.optimizer])
        factor = order.details.get("lr_factor")
        if factor is not None:
            self._rate.lower([trainer.optimizer], factor, step=to_step, ramp_steps=order.details["ramp_steps"])
        facts = {"from_step": gone, "skipped_steps": gone - to_step + self.skip_steps}
        told = Order(order.do, order.step, order.reason, order.incident, {**order.details, **facts})
        self._went_back(told, to_step)

    def _restore_state(self, saved: TrainerState) -> None:
        trainer, control = self._trainer, self._control
        state = trainer.state
        # The epoch is left alone: it says how much of the data has been read, and that is not read again.
        for name in (
            "global_step", "log_history", "best_metric", "best_global_step", "best_model_checkpoint",
            "num_input_tokens_seen", "total_flos",
        ):  # fmt: skip
            setattr(state, name, getattr(saved, name))
        self._restore_callbacks(saved)
        trainer._globalstep_last_logged = state.global_step
        # It may hold a NaN, which nothing else would ever take out again.
        trainer._tr_loss.zero_()
        control.should_log = control.should_evaluate = control.should_save = False
        control.should_training_stop = state.global_step >= state.max_steps

    def _restore_callbacks(self, saved: TrainerState) -> None:
        """What others count, such as the patience of early stopping, as of the checkpoint."""
        for name, states in saved.stateful_callbacks.items():
            own = [one for one in self._trainer.callback_handler.callbacks if type(one).__name__ == name]
            for callback, state in zip(own, states if isinstance(states, list) else [states], strict=False):
                for attribute, value in state.get("attributes", {}).items():
                    setattr(callback, attribute, value)


def hinders_loading(trainer: Any) -> bool:
    return bool(trainer.is_deepspeed_enabled or getattr(trainer, "is_fsdp_xla_v1_enabled", False))


def found_checkpoints(trainer: Any) -> list[Good]:
    """Whole checkpoints in the trainer's output directory, and those kept from rotation."""
    folder = Path(trainer._get_output_dir(trial=None))
    found = []
    for path in (*folder.glob("checkpoint-*"), *folder.glob(f"{KEPT}/checkpoint-*")):
        name = _CHECKPOINT.fullmatch(path.name)
        if name and (path / _STATE).is_file() and any((*path.glob("optimizer*"), *path.glob("global_step*"))):
            found.append(Good(int(name[1]), str(path)))
    return found


def checkpoint_before(trainer: Any, step: int) -> Good | None:
    """The newest checkpoint that a training can go back to, at or before ``step``."""
    return newest_before(found_checkpoints(trainer), step)
