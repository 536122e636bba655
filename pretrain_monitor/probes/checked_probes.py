"""Whether what a user gives as probes can be run as such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..config import ConfigError
from .base import Probe, ProbeError, checked_name


def checked_probes(probes: Sequence[Any]) -> list[Probe]:
    """The probes, if each of them is one.

    Raises:
        ConfigError: one that has no name or cannot be called, two of the same name, or two that ask the same task.
    """
    if isinstance(probes, str) or not isinstance(probes, Sequence):
        raise ConfigError(f"probes takes a list of probes, got {type(probes).__name__}")
    names: set[str] = set()
    for probe in probes:
        if isinstance(probe, type) or not callable(probe) or not isinstance(getattr(probe, "name", None), str):
            raise ConfigError(f"{probe!r} is no probe: a probe has a name and is called with the model")
        try:
            name = checked_name(probe.name, "probe")
        except ProbeError as error:
            raise ConfigError(str(error)) from None
        if name in names:
            raise ConfigError(
                f"two probes are named {name!r}: their results could not be told apart; give one of them another name"
            )
        names.add(name)
    try:
        check_tasks(probes)
    except ProbeError as error:
        raise ConfigError(str(error)) from None
    return list(probes)


def check_tasks(probes: Sequence[Any]) -> None:
    """See that no two probes keep their results under one name.

    Raises:
        ProbeError: two that do.
    """
    asked: dict[str, str] = {}
    for probe in probes:
        for task in _tasks(getattr(probe, "probe", probe)):
            if task in asked:
                raise ProbeError(
                    f"probes {asked[task]!r} and {probe.name!r} both have a task {task!r}: their results could not be "
                    "told apart; give one of the tasks another name, or leave it out of one of the probes"
                )
            asked[task] = probe.name


def _tasks(probe: Any) -> Sequence[str]:
    """Names under which a probe of this package keeps its answers, whatever the probe itself is called."""
    owner = next((kind for kind in type(probe).__mro__ if "tasks" in vars(kind)), None)
    # What a user's own probe calls its tasks says nothing of its metrics, which are known once it has run.
    return probe.tasks if owner is not None and owner.__module__.startswith(f"{__package__}.") else ()
