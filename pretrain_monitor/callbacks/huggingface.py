"""Hugging Face Trainer, and what derives from it: one sample per optimizer step."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..actions.orders import Order
from ..config import MonitorConfig, WhatChanges
from ..distributed import is_distributed
from ..monitor import Monitor
from ..probes.base import Probe
from ..sinks.base import Sink
from ..telemetry import Incident
from .domains import DomainWindow
from .gather import Scalar, StepGatherer
from .guard import guarded
from .hf_actions import TrainerActions
from .hf_taps import ForwardTap, TrainerTap
from .learning_rate import largest_rate
from .probing import Probing

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError("MonitorCallback needs transformers: pip install 'pretrain-monitor[huggingface]'") from error

logger = logging.getLogger(__name__)


class MonitorCallback(TrainerCallback):  # type: ignore[misc]  # transformers is optional, so its types are not loaded
    """Watches a ``transformers.Trainer``, a TRL trainer, or any other class derived from it.

    ``MonitorCallback("runs/x").attach(trainer)`` sees every optimizer step exactly, whatever ``logging_steps``,
    gradient accumulation, precision or ``compute_loss``. A callback alone has no way to the trainer, so
    ``callbacks=[MonitorCallback("runs/x")]`` without ``attach`` sees less; it says once what.

    Under several processes attach it on every rank; rank 0 detects and writes.

    >>> callback = MonitorCallback(None, {"console": {"enabled": False}})
    >>> callback.incidents
    []

    Args:
        run_dir: where the run log and the event files go; None keeps nothing on disk.
        config: a ``MonitorConfig``, a mapping with its keys, or a YAML file.
        probes: what to measure during the training; when is for ``config.probes`` to say.
        domain_key: of a list in each batch that names the domain of each row: it is taken out before the model sees the
            batch, and loss and share of the tokens are told by domain. Only where attached.
        sinks: further receivers of samples and events.
        actions: what is done about incidents, such as ``Rewind()``; only where attached.

    Raises:
        ConfigError: a setting that does not exist or cannot be used.
    """

    def __init__(
        self,
        run_dir: str | Path | None = "runs/hf",
        config: MonitorConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        probes: Sequence[Probe] = (),
        domain_key: str | None = None,
        sinks: Sequence[Sink] = (),
        actions: Sequence[Any] = (),
    ) -> None:
        self.monitor = Monitor(run_dir, config, sinks=sinks, actions=actions)
        self._probes = Probing(probes, self.monitor)
        self.was_told: set[str] = set()
        self._gather: StepGatherer | None = None  # from the start of training to its end
        self._domains = DomainWindow(domain_key)
        self._exact = TrainerTap(
            on_exception=self._crash,
            on_inputs=self._domains.take_labels,
            on_end=self._exit_as_ordered,
            resume_from=lambda: self._actions.checkpoint_of_plan(),
        )
        self._forward = ForwardTap()
        self._source: TrainerTap | ForwardTap = self._forward
        self._learning_rate: Scalar = None
        self._loss_scale: Scalar = None
        self._trainer_tokens = 0
        self._state: Any = None  # of the trainer, from the start of training to its end
        self._waiting: dict[str, Any] | None = None  # a step whose gradient norm may still come with the log
        self._actions = TrainerActions(self.monitor)
        self._is_unprobed = False  # whether a step is complete that the probes have not been told of

    @property
    def incidents(self) -> list[Incident]:
        """Every incident so far in its latest state; empty on every rank but 0."""
        return self.monitor.incidents

    def attach(self, trainer: Any) -> MonitorCallback:
        """Join a trainer before ``trainer.train()``: adds this callback, if it is not there yet, and listens in.

        Raises:
            TypeError: not a trainer.
        """
        if not all(hasattr(trainer, name) for name in ("callback_handler", "training_step", "accelerator")):
            raise TypeError(f"attach takes a transformers.Trainer, got {type(trainer).__name__}")
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        self._exact.attach(trainer)
        return self

    def announce(self, text: str, *, step: int | None = None, what: WhatChanges = "data_stage") -> None:
        """Say that the run is changed on purpose, at any time and from any thread. Never raises.

        Args:
            text: what changes, for the people who read the incidents; what rank 0 says counts.
            step: first step that is trained in the new way, known ahead or just past; None: the next one.
            what: data_stage, batch_size, sequence_length, learning_rate or other.
        """
        state = self._state
        completed = None if state is None else state.global_step
        self.monitor.announce(text, step=step, what=what, completed_steps=completed)

    @guarded
    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._close("restarted", wait=False)
        # First of all: whatever fails below on this rank alone, it has to take part in what the ranks do together.
        self._gather = StepGatherer(self.monitor, is_writer=state.is_world_process_zero)
        atexit.register(self._at_exit, os.getpid())
        self._state = state
        self._forget()
        self._trainer_tokens = state.num_input_tokens_seen
        # It may have been attached to another trainer than the one that calls.
        is_attached = self._exact.trainer is not None and self._exact.trainer.model is model
        self._source = self._exact if is_attached else self._forward
        # The count of a trainer that was told to keep one only after the resumed checkpoint starts at 0.
        knows_tokens = args.include_num_input_tokens_seen != "no" and state.num_input_tokens_seen > 0
        self.monitor.max_grad_norm = args.max_grad_norm if (args.max_grad_norm or 0) > 0 else None
        try:
            self._gather.start(
                state.global_step,
                summary_writer=self._shared_writer() if is_attached else None,
                tokens_seen=state.num_input_tokens_seen if knows_tokens else None,
            )
            self._actions.begin(self._exact if is_attached else None, self._gather, control, self._went_back)
            if is_attached:
                self._exact.attach_clipping()
                self._domains.attach(model, state.global_step)
            else:
                self._forward.attach(model, args)
                self._say_what_is_not_seen(state)
        finally:
            # Whatever of this failed on this rank, the others are in the round before the first step.
            self._probes.begin(state.global_step, self._probed(model), self._gather, lambda: _autocast(args))

    @guarded
    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._send_waiting()
        self._tell_probes(state, model)
        # A window that was broken off half-way had no optimizer step.
        self._forget()

    @guarded
    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._forward.end_micro_batch()

    @guarded
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        self._loss_scale = _loss_scale(optimizer)
        self._learning_rate = self._actions.used_rate(largest_rate(optimizer))
        self._actions.guard(optimizer, self._exact.grad_norm, state.global_step + 1)

    @guarded
    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        step: dict[str, Any] = {"step": state.global_step, "loss": None}
        try:
            self._forward.end_micro_batch()
            step["learning_rate"] = self._learning_rate
            step["metrics"] = {"loss_scale": self._loss_scale, "epoch": state.epoch, **self._domains.metrics()}
            step["metrics"] |= self._actions.metrics()
            step["grad_norm"] = self._exact.grad_norm
            step["tokens"] = self._tokens_of_step(args, state)
            step["loss"] = self._source.loss()
            step["meta"] = self._actions.meta()
        finally:
            # Also if that failed: sending is a collective, and the other ranks are in it.
            self._waiting = step
            self._is_unprobed = True
            if self._source is self._exact:
                self._send_waiting()
                self._tell_probes(state, model)
            self._actions.after_step(state.global_step)

    @guarded
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        step = self._waiting
        if step is None or step["step"] != state.global_step or not logs or "grad_norm" not in logs:
            return
        step["grad_norm"] = logs["grad_norm"]
        # The trainer's filter replaces a NaN in the loss that it logs by a made-up number; its norm tells.
        is_made_up = args.logging_nan_inf_filter and not math.isfinite(logs["grad_norm"])
        if step["loss"] is None and not is_made_up:
            step["loss"] = logs.get("loss")
        self._send_waiting()

    @guarded
    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._send_waiting()
        self._tell_probes(state, model)
        try:
            if self._gather is not None:
                self._gather.checkpointed()
        finally:
            self._probes.checkpointed(state.global_step, self._probed(model))

    @guarded
    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._actions.end_pass(state, control)
        if control.should_training_stop and args.load_best_model_at_end:
            # When the trainer says that training has ended, the model holds the weights of its best checkpoint.
            self._end_probes(state, model)

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        is_other = args.load_best_model_at_end and state.best_global_step not in (None, state.global_step)
        if not is_other:
            self._end_probes(state, model)
        self._close("finished")

    def _went_back(self, order: Order, step: int) -> None:
        """The trainer is where it was at ``step``."""
        trainer = self._exact.trainer
        self._trainer_tokens = trainer.state.num_input_tokens_seen
        if self._gather is not None:
            self._gather.rewind(order, step, summary_writer=self._shared_writer())
            self._probes.close()
            self._probes.begin(step, self._probed(trainer.model), self._gather, lambda: _autocast(trainer.args))

    def _exit_as_ordered(self) -> None:
        if (status := self._actions.exit_status) is not None:
            raise SystemExit(status)

    def _tell_probes(self, state: Any, model: Any) -> None:
        is_unprobed, self._is_unprobed = self._is_unprobed, False
        if is_unprobed:
            self._probes.after_step(state.global_step, self._probed(model))

    def _end_probes(self, state: Any, model: Any) -> None:
        self._send_waiting()
        self._tell_probes(state, model)
        self._probes.end(state.global_step, self._probed(model))

    def _probed(self, model: Any) -> Any:
        """What a forward pass has to be made with: the model itself, unless its wrapper holds parts of it."""
        wrapped = getattr(self._exact.trainer, "model_wrapped", None) if self._source is self._exact else None
        is_needed = type(wrapped).__name__ in ("FullyShardedDataParallel", "DeepSpeedEngine")
        return wrapped if is_needed else model

    def _forget(self) -> None:
        self._exact.forget()
        self._forward.forget()
        self._learning_rate = self._loss_scale = self._waiting = None
        self._is_unprobed = False

    def _tokens_of_step(self, args: Any, state: Any) -> Scalar:
        """Tokens on this rank; those of all ranks on the first, if the trainer itself keeps count."""
        counted = state.num_input_tokens_seen - self._trainer_tokens
        self._trainer_tokens = state.num_input_tokens_seen
        if args.include_num_input_tokens_seen != "no" and counted > 0:
            return int(counted) if state.is_world_process_zero else 0
        return self._source.tokens()

    def _send_waiting(self) -> None:
        step, self._waiting = self._waiting, None
        if step is not None and self._gather is not None:
            self._gather.push(**step)

    def _shared_writer(self) -> Any:
        """The file writer of the trainer's TensorBoardCallback, if it has a live one and we may use it."""
        settings = self.monitor.config.tensorboard
        if settings.enabled and settings.share_writer:
            for callback in self._exact.trainer.callback_handler.callbacks:
                writer = getattr(getattr(callback, "tb_writer", None), "file_writer", None)
                if writer is not None:
                    return writer
        return None

    def _say_what_is_not_seen(self, state: Any) -> None:
        if state.is_world_process_zero and "attach" not in self.was_told:
            self.was_told.add("attach")
            logger.warning(
                "MonitorCallback is not attached to its trainer: the loss is read from the model's own output, so what "
                "compute_loss makes of it is not seen, and the gradient norm only comes when the trainer logs "
                "(logging_steps=%g). To see every step exactly: MonitorCallback(...).attach(trainer)",
                state.logging_steps,
            )

    def _crash(self, error: BaseException) -> None:
        self._close(_reason(error), wait=False)

    def _at_exit(self, pid: int) -> None:
        # A forked child inherits this too, but the run is its parent's.
        if os.getpid() == pid:
            # The trainer tells its callbacks of no exception, but the interpreter remembers the one that ended it.
            self._close(_reason(getattr(sys, "last_value", None)), wait=False)

    def _close(self, reason: str, *, wait: bool = True) -> None:
        """End watching; without ``wait`` nothing is expected of the other ranks, which may be gone."""
        if wait or not is_distributed():
            self._send_waiting()
        self._forward.detach()
        self._domains.detach()
        self._probes.close()
        self._actions.close()
        gather, self._gather = self._gather, None
        self._state = None
        if gather is not None:
            atexit.unregister(self._at_exit)
            try:
                gather.finish(reason, wait=wait)
            finally:
                self.monitor.finish(reason)  # nothing to do unless that failed


def _reason(error: BaseException | None) -> str:
    if error is None or isinstance(error, SystemExit):
        return "process exit"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"crashed: {type(error).__name__}"


def _autocast(args: Any) -> AbstractContextManager[Any]:
    """What the trainer computes its forward passes in."""
    if not (args.bf16 or args.fp16):
        return contextlib.nullcontext()
    return torch.autocast(args.device.type, torch.bfloat16 if args.bf16 else torch.float16)


def _loss_scale(optimizer: Any) -> Tensor | None:
    """The scale of this step on its device; None without a gradient scaler."""
    # get_scale() would wait for the device, and update() changes this tensor in place.
    scale: Tensor | None = getattr(getattr(optimizer, "scaler", None), "_scale", None)
    return None if scale is None else scale.clone()
