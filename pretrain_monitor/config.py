"""Every knob of the monitor, checked at the door."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .actions.settings import Action, contradiction
from .printable import shorten

# What of a run can be changed on purpose while it goes on.
WhatChanges = Literal["data_stage", "batch_size", "sequence_length", "learning_rate", "other"]

DEFAULT_PROBE_STEPS = 500


class ConfigError(ValueError):
    """A setting that does not exist or cannot be used; the message is one line for the user."""


class TensorBoardConfig(BaseModel):
    """What is drawn in TensorBoard."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    enabled: bool = Field(True, description="write panels if the tensorboard package is installed")
    share_writer: bool = Field(True, description="write into the trainer's own event file when it has one")
    flush_secs: float = Field(2.0, gt=0, description="seconds between writes to disk")


class ConsoleConfig(BaseModel):
    """What is printed in the terminal."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    enabled: bool = True
    minimum_severity: Literal["info", "warning", "critical"] = "warning"
    summary: bool = Field(True, description="print the incidents once more when training ends")
    probes: bool = Field(True, description="print a line for each round of probes, and a table when training ends")


class NotifyConfig(BaseModel):
    """Messages to people who are elsewhere; nothing is sent without an address.

    >>> NotifyConfig(urls=("${SLACK_URL}",)).minimum_severity
    'warning'
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    urls: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), repr=False, description="where to, as apprise spells it; ${NAME} stands for an environment variable"
    )
    name: str = Field("", max_length=60, description="what the run is called in messages; empty: as its directory")
    minimum_severity: Literal["info", "warning", "critical"] = "warning"
    resolved: bool = Field(True, description="also tell when an incident is over")
    ended: bool = Field(True, description="also tell when the run is over, and what ended it")
    stalled_minutes: float | None = Field(
        30.0, gt=0, allow_inf_nan=False, description="tell when no step was completed for so long; null: never"
    )
    cooldown_minutes: float = Field(
        10.0, ge=0, le=1440, description="after an alert, further ones of its kind are gathered into one message"
    )
    max_per_hour: int = Field(20, ge=1, le=1000, description="messages; beyond it alerts are gathered into one")
    digest_minutes: float | None = Field(
        None, gt=0, le=10_080, description="tell incidents below minimum_severity together, so often; null: never"
    )
    actions: bool = Field(True, description="also tell what was done about incidents")
    pictures: bool = Field(True, description="send the curves along where the service takes pictures")


class TrackersConfig(BaseModel):
    """What is written into the experiment tracker that the program uses already."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    enabled: bool = Field(False, description="in wandb, trackio, MLflow and Lightning loggers, whichever has a run")
    every_steps: int = Field(50, ge=1, description="between two points of a curve")
    minimum_severity: Literal["info", "warning", "critical"] = "warning"


class JsonLinesConfig(BaseModel):
    """Lines of JSON on standard output, for whatever collects the logs of a cluster."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    enabled: bool = False
    minimum_severity: Literal["info", "warning", "critical"] = "info"
    samples_every: int | None = Field(None, ge=1, description="also every so many samples; null: none")


class PrometheusConfig(BaseModel):
    """A textfile for node_exporter."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    path: str | None = Field(None, description="of the file, ending in .prom; null: none")
    every_s: float = Field(15.0, ge=1, le=3600, description="seconds between two writes")

    @model_validator(mode="after")
    def _has_a_name_that_is_read(self) -> PrometheusConfig:
        if self.path is not None and not self.path.endswith(".prom"):
            raise ValueError(f"path = {shorten(repr(self.path))}: node_exporter reads files that end in .prom")
        return self


class ProbeSchedule(BaseModel):
    """When probes are run.

    >>> ProbeSchedule(every_steps=200).early
    True
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    every_steps: int | None = Field(None, ge=1, description="steps between two rounds")
    every_tokens: Annotated[float | None, BeforeValidator(lambda value: _as_number(value))] = Field(
        None, gt=0, allow_inf_nan=False, description="tokens between two rounds, instead of steps"
    )
    at_start: bool = Field(True, description="before the first step, as a baseline")
    early: bool = Field(True, description="at steps 1, 2, 4, 8 and so on, until the regular ones are as dense")
    on_checkpoint: bool = Field(True, description="whenever the trainer saves a checkpoint")
    after_incidents: bool = Field(True, description="once an alert about the training is over: did it do harm?")
    at_end: bool = Field(True, description="when training has ended")
    budget_percent: float = Field(
        5.0,
        gt=0,
        le=1e6,
        description="share of the training time that rounds may take; they come less often beyond it",
    )

    @model_validator(mode="after")
    def _has_one_interval(self) -> ProbeSchedule:
        if self.every_steps is not None and self.every_tokens is not None:
            raise ValueError("give either every_steps or every_tokens")
        return self

    @property
    def interval_steps(self) -> int | None:
        """Steps between two rounds; None if they are counted in tokens."""
        return None if self.every_tokens is not None else self.every_steps or DEFAULT_PROBE_STEPS


def _as_number(value: Any) -> Any:
    # In YAML 2.0e9 is a text: its numbers have a sign in the exponent.
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


class ScheduledChange(BaseModel):
    """A change of the run that is planned: what begins there is explained by it.

    >>> ScheduledChange(step=5000, note="stage 2: code").what
    'data_stage'
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    step: int | None = Field(None, ge=1, description="first step that is trained in the new way")
    tokens: Annotated[float | None, BeforeValidator(_as_number)] = Field(
        None, gt=0, allow_inf_nan=False, description="tokens trained on in the old way, instead of a step"
    )
    what: WhatChanges = "data_stage"
    note: str = Field("", max_length=200, description="what incidents are to say of it")

    @model_validator(mode="after")
    def _has_one_place(self) -> ScheduledChange:
        if (self.step is None) == (self.tokens is None):
            raise ValueError("give either step or tokens")
        return self


class MonitorConfig(BaseModel):
    """Settings of one monitor; every default suits a run of some thousand steps or more.

    >>> MonitorConfig(false_alarms_per_10k_steps=0.3).warmup_steps
    150
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    false_alarms_per_10k_steps: float = Field(
        0.2, ge=1e-6, le=1000, description="alerts that a healthy run may raise per 10,000 steps, all charts together"
    )
    warmup_steps: int = Field(
        150, ge=96, le=100_000, description="samples before the charts may alarm; until then the early rules watch"
    )
    memory_steps: int = Field(32, ge=8, le=1024, description="memory of the trend, in samples")
    transform: Literal["auto", "log", "linear"] = Field(
        "auto", description="scale on which a signal is judged; auto takes log unless the signal comes near zero"
    )
    merge_steps: int = Field(50, ge=1, le=5000, description="alarms closer than this belong to one incident")
    confirm_steps: int = Field(
        200, ge=50, le=400, description="samples after which a level that has not come back is called lasting"
    )
    ignore_signals: tuple[str, ...] = Field((), description="signals that are logged and drawn but never judged")
    schedule: tuple[ScheduledChange, ...] = Field(
        (), description="planned changes of data, batch size, sequence length or learning rate"
    )
    snapshot_steps: int = Field(10_000, ge=100, description="steps between detector snapshots in the run log")
    probes: ProbeSchedule = ProbeSchedule()
    actions: tuple[Action, ...] = Field((), description="what is done about incidents; by default nothing")
    dry_run: bool = Field(False, description="say what actions would do, and do nothing")
    sink_timeout_s: float = Field(10.0, gt=0, description="how long the end of training waits for slow sinks")
    tensorboard: TensorBoardConfig = TensorBoardConfig()
    console: ConsoleConfig = ConsoleConfig()
    notify: NotifyConfig = NotifyConfig()
    trackers: TrackersConfig = TrackersConfig()
    json_lines: JsonLinesConfig = JsonLinesConfig()
    prometheus: PrometheusConfig = PrometheusConfig()

    @model_validator(mode="after")
    def _has_actions_that_go_together(self) -> MonitorConfig:
        if (problem := contradiction(self.actions)) is not None:
            raise ValueError(f"actions: {problem}")
        return self

    def detection_key(self) -> dict[str, Any]:
        """The settings on which the detector's state depends: a snapshot made under others cannot be used."""
        names = (
            "false_alarms_per_10k_steps", "warmup_steps", "memory_steps", "transform",
            "merge_steps", "confirm_steps", "ignore_signals", "schedule",
        )  # fmt: skip
        return self.model_dump(mode="json", include=set(names))


def load_config(source: str | Path | Mapping[str, Any] | MonitorConfig | None) -> MonitorConfig:
    """A checked config from a YAML file, a mapping, a config, or nothing.

    Raises:
        ConfigError: with one line that says what was given, what is allowed and what to do.
    """
    if source is None:
        return MonitorConfig()
    if isinstance(source, MonitorConfig):
        return source
    where = "config"
    if isinstance(source, str | Path):
        where = str(source)
        source = read_yaml(Path(source), "config file")
    if not isinstance(source, Mapping):
        raise ConfigError(f"{where}: expected settings as key: value, got {type(source).__name__}")
    try:
        return MonitorConfig.model_validate(_tuples(source))
    except ValidationError as error:
        raise ConfigError(f"{where}: {first_problem(error, MonitorConfig)}") from None


def with_actions(config: MonitorConfig, actions: Any) -> MonitorConfig:
    """The config with further actions.

    Args:
        actions: objects such as ``Rewind(...)``, or mappings as in a file.

    Raises:
        ConfigError: not a list of actions, or they do not go together.
    """
    if not isinstance(actions, Sequence) or isinstance(actions, str | bytes):
        raise ConfigError(f"actions takes a list of actions, got {shorten(repr(actions))}")
    if not actions:
        return config
    for place, action in enumerate(actions):
        if isinstance(action, type):
            name = action.__name__
            raise ConfigError(f"actions[{place}] is the class {name}: give an object of it, {name}(...)")
    return load_config({**dict(config), "actions": (*config.actions, *actions)})


def read_yaml(path: Path, what: str) -> Any:
    """What a YAML file holds, an empty mapping if nothing.

    Args:
        what: it is called in messages.

    Raises:
        ConfigError: no such file, or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such {what}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: a {what} is UTF-8 text, this is not") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}: not valid YAML{line}: {getattr(error, 'problem', error)}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not usable YAML: {str(error).splitlines()[0][:100]}") from None


def _tuples(value: Any) -> Any:
    # YAML has lists only, and a strict tuple field refuses them.
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def first_problem(error: ValidationError, settings: type[BaseModel]) -> str:
    """The first problem in a line of words, with the nearest key for a misspelt one.

    Args:
        settings: model that refused them.
    """
    # A misspelt key is often the reason why another one is missing.
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    path = _without_secrets(".".join(str(part) for part in problem["loc"]))
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        allowed = _keys_at(settings, problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), allowed, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(allowed)}"
        return f"unknown setting {path!r}; {hint}{others}"
    if problem["type"] == "invalid_key":
        return f"{path}: settings have names; YAML takes on, off, yes and no for true and false{others}"
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{path}: do is one of {', '.join(_tags_at(settings, problem['loc']))}{others}"
    if problem["type"] == "missing":
        return f"{path} is missing{others}"
    message = problem["msg"].removeprefix("Value error, ")
    # What YAML calls a list and a mapping has other names in Python.
    message = re.sub("a valid dictionary or .*", "settings as key: value", message.replace("a valid tuple", "a list"))
    is_address = problem["loc"][:1] == ("notify",) and problem["loc"][1:2] in ((), ("urls",))
    given = "***" if is_address else shorten(_without_secrets(repr(problem["input"])))
    what = f"{path} = {given}: " if path else ""
    return f"{what}{_lower_first(message)}{others}"


def _without_secrets(text: str) -> str:
    """Without what follows the scheme of an address, which may be a password."""
    return re.sub("://.*", "://***", text, flags=re.DOTALL)


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    choice: dict[str, type[BaseModel]] = {}
    for part in location:
        if isinstance(part, int):
            continue  # the place in a list, whose entries are of the model found before
        if part in choice:
            model = choice[part]
            continue
        if part not in model.model_fields:
            continue  # a name of the user's own, in a mapping whose values are of the model found before
        kinds = _models_in(model.model_fields[part].annotation)
        choice = {kind.model_fields["do"].default: kind for kind in kinds if "do" in kind.model_fields}
        if len(kinds) == 1:
            model = kinds[0]
    return list(model.model_fields)


def _tags_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    kinds = _models_in(model.model_fields[str(location[0])].annotation)
    return [kind.model_fields["do"].default for kind in kinds if "do" in kind.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a value of this type may be, or hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
