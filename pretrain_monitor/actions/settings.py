"""Which actions there are, and what about each can be chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ..telemetry import Kind, Severity

# When something is done: kinds of incident, or a severity and all above it.
When = Literal[
    "nonfinite", "divergence", "spike", "level_shift", "drift", "plateau", "grad_spike", "bad_batch", "noise_change",
    "lr_anomaly", "retention_loss", "warning", "critical",
]  # fmt: skip

_FATAL: tuple[When, ...] = ("nonfinite", "divergence")
_MAY_BE_WARNINGS = ("spike", "level_shift", "drift", "lr_anomaly", "retention_loss", "bad_batch")
_SEVERITIES = (Severity.WARNING.value, Severity.CRITICAL.value)


def _listed(value: Any) -> Any:
    # `when: critical` means the same as a list of one.
    return (value,) if isinstance(value, str) else value


Rules = Annotated[tuple[When, ...], BeforeValidator(_listed), Field(min_length=1)]


class _Action(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    at_most: int = Field(3, ge=1, description="times that it is done ...")
    per_steps: int = Field(10_000, ge=1, description="... within so many steps")
    then: Literal["tell", "stop"] = Field("tell", description="what is done beyond that")

    @property
    def rules(self) -> frozenset[str]:
        """Kinds of incident that it is done about, severities spelled out as none."""
        return frozenset(getattr(self, "when", ()))

    def is_for(self, kind: Kind, severity: Severity) -> bool:
        return kind.value in self.rules or any(severity >= name for name in _SEVERITIES if name in self.rules)


class Checkpoint(_Action):
    """Keep the last checkpoint from before the onset from being rotated away, and save one now."""

    do: Literal["checkpoint"] = "checkpoint"
    when: Rules = ("warning",)
    keep: bool = Field(True, description="the last one from before the onset")
    save: bool = Field(True, description="one now")


class Stop(_Action):
    """End the training as if it had come to its end, with a checkpoint."""

    do: Literal["stop"] = "stop"
    when: Rules = _FATAL
    save: bool = Field(True, description="a checkpoint before it ends")
    exit_status: int | None = Field(
        None, ge=0, le=255, description="of the process; none: the program goes on after the training"
    )


class LowerLearningRate(_Action):
    """Multiply the learning rate, and let it come back slowly."""

    do: Literal["lower_lr"] = "lower_lr"
    when: Rules = ("divergence",)
    factor: float = Field(0.5, gt=0, lt=1)
    hold_steps: int = Field(0, ge=0, description="steps before it begins to come back")
    ramp_steps: int = Field(1000, ge=0, description="steps in which it comes back; 0: never")


class SkipStep(_Action):
    """Leave out updates whose gradient is not finite, or extreme: neither weights nor moments are touched.

    Decided before the optimizer runs from the gradient norm, which is the same on all ranks; not from incidents.
    """

    do: Literal["skip_step"] = "skip_step"
    extreme_sd: float | None = Field(
        None, ge=4, allow_inf_nan=False, description="robust sd of the log norm beyond which it is extreme; none: never"
    )
    on_device: bool = Field(
        False,
        description="so that the host does not wait; for fused optimizers without a gradient scaler",
    )
    at_most: int = Field(20, ge=1)
    per_steps: int = Field(1000, ge=1)


class Rewind(_Action):
    """Go back to a checkpoint from before the onset, and on with data that comes after what led into it.

    ``preset="palm"`` is the recipe of Chowdhery et al. (2022): restart about 100 steps before a spike and skip 200 to
    500 batches.
    """

    do: Literal["rewind"] = "rewind"
    when: Rules = _FATAL
    preset: Literal["palm"] | None = None
    back_steps: int = Field(0, ge=0, description="so many steps at least between checkpoint and onset, if there is one")
    skip_steps: int = Field(
        0,
        ge=0,
        description="optimizer steps' worth of data to leave out after the checkpoint; at least what was trained on",
    )
    lr_factor: float | None = Field(None, gt=0, lt=1, description="also lower the learning rate")
    by_restart: bool = Field(False, description="in a new process, which `pretrain-monitor run` starts")
    ramp_steps: int = Field(1000, ge=0, description="steps in which it comes back; 0: never")
    then: Literal["tell", "stop"] = "stop"

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("preset") == "palm":
            return {"back_steps": 100, "skip_steps": 300, **data}
        return data


Action = Annotated[Checkpoint | Stop | LowerLearningRate | SkipStep | Rewind, Field(discriminator="do")]


def contradiction(actions: Sequence[Any]) -> str | None:
    """What cannot be meant by a list of actions, in a line; None if nothing."""
    seen: dict[str, list[frozenset[str]]] = {}
    for action in actions:
        before = seen.setdefault(action.do, [])
        if action.do == "skip_step" and before:
            return "skip_step is there twice"
        for rules in before:
            if both := (_spelled_out(action.rules) & rules) | (action.rules & _spelled_out(rules)):
                return f"{action.do} is there twice for {_named(both)}"
        before.append(action.rules)
    for one, other, advice in (
        ("rewind", "stop", "to stop when rewinding does not help, give rewind `then: stop`"),
        ("rewind", "lower_lr", "to lower the learning rate after going back, give rewind an lr_factor"),
    ):
        for rules in seen.get(one, ()):
            for others in seen.get(other, ()):
                if both := (_spelled_out(rules) & others) | (rules & _spelled_out(others)):
                    return f"{one} and {other} are both there for {_named(both)}: {advice}"
    return None


def _spelled_out(rules: Iterable[str]) -> frozenset[str]:
    """With the kinds of incident that a severity may stand for."""
    found = set(rules)
    if Severity.WARNING.value in found:
        found |= {Severity.CRITICAL.value, *_MAY_BE_WARNINGS}
    if Severity.CRITICAL.value in found:
        found |= {*_FATAL, Kind.RETENTION_LOSS.value}
    return frozenset(found)


def _named(rules: Iterable[str]) -> str:
    return ", ".join(sorted(rules))
