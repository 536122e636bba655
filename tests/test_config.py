from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pretrain_monitor import MonitorConfig
from pretrain_monitor.config import ConfigError, load_config

PRESETS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def test_nothing_given_means_the_defaults():
    assert load_config(None) == MonitorConfig()


def test_a_mapping_a_file_and_a_config_say_the_same(tmp_path: Path):
    path = tmp_path / "monitor.yaml"
    path.write_text("false_alarms_per_10k_steps: 0.5\nignore_signals: [throughput]\nconsole:\n  enabled: false\n")
    mapping = {"false_alarms_per_10k_steps": 0.5, "ignore_signals": ["throughput"], "console": {"enabled": False}}
    assert load_config(path) == load_config(str(path)) == load_config(mapping) == load_config(load_config(mapping))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"false_alarm_per_10k_steps": 1.0}, "did you mean 'false_alarms_per_10k_steps'?"),
        ({"tensorboard": {"enable": True}}, "unknown setting 'tensorboard.enable'; did you mean 'enabled'?"),
        ({"qqqq": 1}, "unknown setting 'qqqq'; allowed: false_alarms_per_10k_steps, warmup_steps"),
        ({"warmup_steps": "many"}, "warmup_steps = 'many': input should be a valid integer"),
        ({"warmup_steps": 5}, "warmup_steps = 5: input should be greater than or equal to 96"),
        ({"false_alarms_per_10k_steps": 0}, "greater than or equal to 0.000001"),
        ({"transform": "sqrt"}, "'auto', 'log' or 'linear'"),
        ({"warmup_steps": 5, "memory_steps": 1}, "(and 1 more)"),
        ({"schedule": [{"stepp": 5}]}, "unknown setting 'schedule.0.stepp'; did you mean 'step'?"),
        ({"schedule": [{"step": 5, "what": "stage"}]}, "schedule.0.what = 'stage': input should be 'data_stage', "),
        ({"schedule": [{"step": 5, "tokens": 7}]}, "schedule.0 = {'step': 5, 'tokens': 7}: give either step or tokens"),
        ({"schedule": [{"note": "x"}]}, "schedule.0 = {'note': 'x'}: give either step or tokens"),
        ({"schedule": [{"step": 0}]}, "schedule.0.step = 0: input should be greater than or equal to 1"),
        ({"schedule": [{"tokens": "many"}]}, "schedule.0.tokens = 'many': input should be a valid number"),
        ({"schedule": [{"tokens": float("inf")}]}, "schedule.0.tokens = inf: input should be a finite number"),
        ({"schedule": [7]}, "schedule.0 = 7: input should be settings as key: value"),
        ({"schedule": {"step": 5}}, "schedule = {'step': 5}: input should be a list"),
        ({"actions": [{"do": "stop", True: ["spike"]}]}, "YAML takes on, off, yes and no for true and false"),
        ([1, 2], "expected settings as key: value, got list"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_is_allowed(given: object, said: str):
    with pytest.raises(ConfigError) as error:
        load_config(given)  # type: ignore[arg-type]
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a: [1", "not valid YAML at line"), (b"\xff\xfe\x00", "UTF-8"), (b"just text", "got str")],
)
def test_a_broken_config_file_is_one_line_with_its_name(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "monitor.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"monitor\.yaml") as error:
        load_config(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "nothing.yaml")


def test_planned_changes_come_from_yaml_with_numbers_as_people_write_them(tmp_path: Path):
    path = tmp_path / "monitor.yaml"
    path.write_text(
        'schedule:\n  - {step: 5000, note: "stage 2: code"}\n  - {tokens: 2.0e9, what: batch_size}\n  - {tokens: 3e9}\n'
    )
    first, second, third = load_config(path).schedule
    assert (first.step, first.what, first.note) == (5000, "data_stage", "stage 2: code")
    assert (second.tokens, second.what, third.tokens) == (2e9, "batch_size", 3e9)


def test_a_snapshot_made_under_another_plan_is_not_used():
    assert load_config({"schedule": [{"step": 5}]}).detection_key() != MonitorConfig().detection_key()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.name)
def test_the_plan_in_the_comments_of_a_preset_can_be_used(preset: Path, tmp_path: Path):
    plan = preset.read_text().partition("# schedule:\n")[2]
    lines = [line.removeprefix("#") for line in plan.splitlines() if line.startswith("#   - ")]
    copy = tmp_path / "copy.yaml"
    copy.write_text("\n".join([preset.read_text(), "schedule:", *lines] if lines else [preset.read_text()]))
    assert len(load_config(copy).schedule) == len(lines)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.name)
def test_every_preset_loads_and_opens_with_when_to_use_it(preset: Path):
    load_config(preset)
    assert preset.read_text().startswith("# ")


def test_there_are_presets():
    assert {path.stem for path in PRESETS} >= {"default", "large-run", "small-batch"}


@pytest.mark.parametrize(
    "given",
    [
        {"notify": "slack://s3cret/b/c"},
        {"notify": ["slack://s3cret/b/c"]},
        {"notify": {"urls": "slack://s3cret/b/c"}},
        {"notify": {"urls": "s3cret/b/c"}},
        {"notify": {"urls": [{"url": "slack://s3cret/b/c"}]}},
        {"notify": {"slack://s3cret/b/c": 1}},
        {"slack://s3cret/b/c": 1},
    ],
    ids=repr,
)
def test_an_address_in_the_wrong_place_is_refused_without_being_shown(given: dict[str, Any]):
    with pytest.raises(ConfigError) as refused:
        load_config(given)
    assert "s3cret" not in str(refused.value)


def test_addresses_are_not_shown_with_the_settings():
    assert "s3cret" not in repr(load_config({"notify": {"urls": ["json://me:s3cret@localhost"]}}))
