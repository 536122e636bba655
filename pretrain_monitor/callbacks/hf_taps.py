"""Where loss and gradient norm of a Hugging Face run come from: the trainer's own calls, or the model's forward."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_utils import has_length

from .gather import Scalar
from .guard import guarded
from .losses import settled
from .microbatch import MicroBatch, as_trainer_scales, loss_in, sum_losses, sum_tokens
from .window import tokens_of


class TrainerTap:
    """Listens to calls that the trainer makes in every step: exact, and nothing is computed a second time.

    Args:
        on_exception: told of what ends ``trainer.train()``.
        on_inputs: given each batch before the trainer computes with it.
        on_end: called when ``trainer.train()`` is about to return.
        resume_from: asked when it is called: a checkpoint to resume from, whatever the program says; None for none.
    """

    def __init__(
        self,
        on_exception: Callable[[BaseException], None],
        on_inputs: Callable[[Any], None],
        on_end: Callable[[], None] = lambda: None,
        resume_from: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.was_told: set[str] = set()
        self.micro: list[MicroBatch] = []
        self.grad_norm: Scalar = None
        self._on_exception = on_exception
        self._on_inputs = on_inputs
        self._on_end = on_end
        self._resume_from = resume_from
        self.data = SkippedData()
        self._tokens: Scalar = None
        self._are_tokens_shared: bool | None = None
        # Weak: whoever keeps a monitor to look at its incidents does not keep the model in memory.
        self._trainer: weakref.ref[Any] | None = None
        self._tapped: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def trainer(self) -> Any:
        """The trainer attached to, None without one."""
        return None if self._trainer is None else self._trainer()

    def attach(self, trainer: Any) -> None:
        self._trainer = weakref.ref(trainer)
        if self._is_new(trainer):
            _listen(trainer, "training_step", before=self._see_inputs, after=self._see_loss)
            _listen(trainer, "train", after=lambda result: self._on_end(), failed=self._see_exception)
            self.data.attach(trainer)
            _have_resume_from(trainer, self._resume_from)
        self.attach_clipping()

    def attach_clipping(self) -> None:
        """Again before each training: the accelerator is rebuilt for each trial of a hyper-parameter search."""
        self._are_tokens_shared = None
        # Called in every step, with max_norm=inf where nothing is to be clipped, and returns the norm before clipping.
        accelerator = self.trainer.accelerator
        if self._is_new(accelerator):
            _listen(accelerator, "clip_grad_norm_", after=self._see_norm)

    def forget(self) -> None:
        """Drop what was seen of the present step."""
        self.micro = []
        self.grad_norm = None

    def loss(self) -> Scalar:
        """Of the step, on this rank. What ``training_step`` returns is a share of it already."""
        return sum_losses(self.micro)

    def tokens(self) -> Scalar:
        """Of the step, on this rank; None if unknown or if the rank shares them with others."""
        if self._are_tokens_shared is None:
            # Tensor, context and sequence parallelism: several ranks work on one batch, so theirs do not add up.
            sizes = [getattr(self.trainer, f"get_{kind}_size")() for kind in ("tp", "cp", "sp")]
            self._are_tokens_shared = max(sizes) > 1
        return None if self._are_tokens_shared else sum_tokens(self.micro)

    @guarded
    def _see_inputs(self, model: Any = None, inputs: Any = None, *args: Any, **kwargs: Any) -> None:
        self._on_inputs(inputs)
        self._tokens = None
        self._tokens = tokens_of(inputs)

    @guarded
    def _see_loss(self, loss: Tensor) -> None:
        self.micro.append(MicroBatch(settled(loss), self._tokens, is_scaled=True))

    @guarded
    def _see_norm(self, norm: Scalar) -> None:
        self.grad_norm = norm

    @guarded
    def _see_exception(self, error: BaseException) -> None:
        self._on_exception(error)

    def _is_new(self, owner: Any) -> bool:
        """Whether ``owner`` is still to be tapped: twice would count each loss twice."""
        is_new = owner not in self._tapped
        self._tapped.add(owner)
        return is_new


def _have_resume_from(trainer: Any, checkpoint: Callable[[], str | None]) -> None:
    inner = trainer.train

    @functools.wraps(inner)
    def train(resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        return inner(checkpoint() or resume_from_checkpoint, *args, **kwargs)

    trainer.train = train


class SkippedData:
    """Reads past data that is not to be trained on."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, steps: int) -> None:
        """A training begins, and leaves out so much first."""
        self.steps = steps  # optimizer steps' worth still to be read past
        self._is_short = False  # this pass over the data is shorter than the trainer believes
        self._pass: Any = None  # the iterator of this pass
        self._stream: Any = None  # what is read from instead, where the trainer believes that a pass is over
        self._has_gone_back = False
        self._was_read = self._was_trained_on = False  # whether any of this pass was

    @property
    def took_whole_pass(self) -> bool:
        """Whether a pass over the data was read past from beginning to end, which is no reason to stop."""
        return self._was_read and not self._was_trained_on

    def went_back(self, skip_steps: int) -> None:
        """The training went back, and is to leave out so much more than it has read."""
        self.steps += skip_steps
        self._has_gone_back = True

    def attach(self, trainer: Any) -> None:
        inner = trainer.get_batch_samples

        @functools.wraps(inner)
        def outer(epoch_iterator: Iterator[Any], num_batches: int, *args: Any, **kwargs: Any) -> Any:
            if epoch_iterator is not self._pass:
                # To the trainer a pass over data without a length is as long as the training, and after going back too
                # short: the data goes on all the same.
                is_endless = not has_length(trainer.callback_handler.train_dataloader)
                if self._stream is None and self._has_gone_back and is_endless:
                    self._stream = self._pass
                self._pass, self._was_read, self._was_trained_on = epoch_iterator, False, False
            usual = trainer.args.gradient_accumulation_steps
            if self._stream is not None:
                self._read_past(self._stream, usual)
                samples, items = inner(self._stream, num_batches, *args, **kwargs)
                if len(samples) < num_batches:
                    self._stream = None  # it has come to its end; a window in two parts would be none to the trainer
            if self._stream is None:
                self._read_past(epoch_iterator, usual)
                samples, items = inner(epoch_iterator, num_batches, *args, **kwargs)
            if self._is_short and len(samples) < num_batches:
                # The trainer would not know these for the last of the pass, and never step.
                samples.clear()
            self._was_trained_on = self._was_trained_on or bool(samples)
            return samples, items

        trainer.get_batch_samples = outer

    def _read_past(self, iterator: Iterator[Any], batches: int) -> None:
        while self.steps:
            self._is_short = True
            for _ in range(batches):
                if next(iterator, None) is None:
                    return  # the rest of it in the next pass
                self._was_read = True
            self.steps -= 1


class ForwardTap:
    """Reads the loss from the model's own output: what is left without the trainer."""

    def __init__(self) -> None:
        self.was_told: set[str] = set()
        self.micro: list[MicroBatch] = []
        self._last: MicroBatch | None = None
        self._hook: Any = None
        self._ranks = 1

    @property
    def is_on(self) -> bool:
        return self._hook is not None

    def attach(self, model: Any, args: Any) -> None:
        """Watch ``model``, trained with the trainer's arguments ``args``."""
        self._ranks = args.world_size if args.average_tokens_across_devices else 1
        # DataParallel would fire the hook for each replica, and a compiled DDP model would be traced into it.
        is_visible = args.n_gpu <= 1 and not (args.torch_compile and args.world_size > 1)
        # Left out of compilation, which may fail on it and then ends the training.
        see = torch.compiler.disable(self._see_forward) if is_visible else _see_nothing  # type: ignore[no-untyped-call]
        self._hook = model.register_forward_hook(see, with_kwargs=True)

    def detach(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def end_micro_batch(self) -> None:
        """The backward pass is over; whatever ran forward last was for it."""
        if self._last is not None:
            self.micro.append(self._last)
            self._last = None

    def forget(self) -> None:
        """Drop what was seen of the present step."""
        self.micro = []
        self._last = None

    def loss(self) -> Scalar:
        """Of the step, on this rank; None if the model does not return one."""
        return sum_losses(as_trainer_scales(self.micro, ranks=self._ranks))

    def tokens(self) -> Scalar:
        """Of the step, on this rank; None if unknown."""
        return sum_tokens(self.micro)

    @guarded
    def _see_forward(self, model: Any, args: Any, kwargs: Any, output: Any) -> None:
        if not (model.training and torch.is_grad_enabled()):
            return
        loss = loss_in(output)
        # A copy: the trainer multiplies this one in place if tokens are averaged over ranks.
        loss = None if loss is None else loss.detach().clone()
        self._last = MicroBatch(loss, tokens_of(kwargs), is_scaled="num_items_in_batch" in kwargs)


def _see_nothing(*args: Any) -> None:
    pass


def _listen(
    owner: Any,
    name: str,
    *,
    before: Callable[..., None] | None = None,
    after: Callable[[Any], None] | None = None,
    failed: Callable[[BaseException], None] | None = None,
) -> None:
    """Have one object's method report what it is given, what it returns or what it raises; the class is left alone."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def outer(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(*args, **kwargs)
        try:
            result = inner(*args, **kwargs)
        except BaseException as error:
            if failed is not None:
                failed(error)
            raise
        if after is not None:
            after(result)
        return result

    setattr(owner, name, outer)
