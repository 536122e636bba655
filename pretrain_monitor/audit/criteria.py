"""Which findings a verdict rests on, and the limits they are held to: a YAML file or a preset."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..config import ConfigError, first_problem, read_yaml
from ..printable import shorten, shown_path
from .model import Need

DEFAULT = "research"

# Built into the package from configs/criteria, where they stand in a checkout: there is one of each to keep up.
_PACKAGE = Path(__file__).parent.parent
_FOLDERS = (_PACKAGE / "presets" / "criteria", _PACKAGE.parent / "configs" / "criteria")
_DEEPEST = 8  # files that extend one another

CHECKS = (
    "evidence/telemetry",
    "evidence/ended",
    "stability/nonfinite",
    "stability/incidents",
    "stability/spike_score",
    "stability/time_in_incidents",
    "stability/excess_loss",
    "stability/lingering_damage",
    "stability/noise_trend",
    "stability/still_learning",
    "stability/second_look",
    "schedule/warmup",
    "schedule/jumps",
    "schedule/restarts",
    "schedule/decay",
    "schedule/rate_noise",
    "gradients/trend",
    "gradients/clipped",
    "gradients/late_growth",
    "held_out/level",
    "held_out/trend",
    "held_out/gap",
    "held_out/contamination",
    "held_out/against",
    "knowledge/chance",
    "knowledge/retention",
    "knowledge/recall",
    "knowledge/reasoning",
    "tokenization/efficiency",
    "tokenization/unknown",
    "tokenization/reference",
    "tokenization/parity",
    "coverage/compressor",
    "coverage/behind",
    "data/bad_batches",
    "data/same_step",
)


class Criterion(BaseModel):
    """What is asked of one check."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    need: Need = Field(Need.SHOWN, description="required, advised or shown")
    at_most: float | None = Field(None, strict=True, allow_inf_nan=False, description="passes up to this value")
    at_least: float | None = Field(None, strict=True, allow_inf_nan=False, description="passes from this value on")

    @model_validator(mode="after")
    def _has_one_limit(self) -> Criterion:
        if self.at_most is not None and self.at_least is not None:
            raise ValueError("give at_most or at_least, not both")
        if self.need is not Need.SHOWN and self.at_most is None and self.at_least is None:
            raise ValueError(f"what is {self.need.value} has a limit: give at_most or at_least")
        return self


class Criteria(BaseModel):
    """Limits by check.

    Args:
        max_grad_norm: that gradients were clipped to, for logs that do not say it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    extends: str | None = Field(None, description="a preset, or a file beside this one, for all else")
    max_grad_norm: float | None = Field(None, gt=0, allow_inf_nan=False)
    checks: Mapping[str, Criterion] = Field(default_factory=dict)


def load_criteria(given: Criteria | Mapping[str, Any] | str | Path | None = None) -> Criteria:
    """Criteria with everything in them that they extend.

    Args:
        given: name of a preset, path of a YAML file, a mapping with the same keys; None: the preset ``research``.

    Raises:
        ConfigError: no such preset or file, or one that cannot be used; one line for the user.
    """
    if isinstance(given, Criteria):
        return given
    if isinstance(given, Mapping):
        return _whole(_read(given, "criteria"), Path(), "criteria", 0)
    path = _path_of(DEFAULT if given is None else given)
    return _of_file(path, 0)


def presets() -> dict[str, Path]:
    """Files of the presets by name."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _of_file(path: Path, depth: int) -> Criteria:
    where = shown_path(path)
    if path.exists() and not path.is_file():
        raise ConfigError(f"{where}: criteria are a file of settings or the name of a preset; this is no regular file")
    record = read_yaml(path, "file of criteria")
    if not isinstance(record, Mapping):
        raise ConfigError(f"{where}: criteria are settings as key: value, this is a {type(record).__name__}")
    criteria = _whole(_read(record, where), path.parent, where, depth)
    return criteria if criteria.name else criteria.model_copy(update={"name": path.stem})


def _whole(criteria: Criteria, folder: Path, where: str, depth: int) -> Criteria:
    if criteria.extends is None:
        return criteria
    if depth >= _DEEPEST:
        raise ConfigError(f"{where}: extends goes round in a circle, or through more than {_DEEPEST} files")
    try:
        path = _path_of(criteria.extends, folder)
    except ConfigError as error:
        raise ConfigError(f"{where}: extends: {error}") from None
    base = _of_file(path, depth + 1)
    return Criteria(
        name=criteria.name,
        max_grad_norm=criteria.max_grad_norm if criteria.max_grad_norm is not None else base.max_grad_norm,
        checks={**base.checks, **criteria.checks},
    )


def _path_of(given: str | Path, folder: Path = Path()) -> Path:
    path = Path(given).expanduser()
    if path.suffix or len(path.parts) != 1 or (folder / path).is_file():
        return path if path.is_absolute() else folder / path
    known = presets()
    if str(given) not in known:
        raise ConfigError(f"no file of criteria or preset {shorten(repr(str(given)))}; presets are {', '.join(known)}")
    return known[str(given)]


def _read(record: Mapping[str, Any], where: str) -> Criteria:
    checks = record.get("checks")
    for name in checks if isinstance(checks, Mapping) else ():
        if name not in CHECKS:
            near = difflib.get_close_matches(str(name), CHECKS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"checks are {', '.join(CHECKS)}"
            raise ConfigError(f"{where}: unknown check {shorten(repr(name))}; {hint}")
    try:
        return Criteria.model_validate(record)
    except ValidationError as error:
        raise ConfigError(f"{where}: {first_problem(error, Criteria)}") from None
    except RecursionError:
        raise ConfigError(f"{where}: settings that hold themselves") from None
