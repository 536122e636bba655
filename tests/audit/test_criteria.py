from __future__ import annotations

from pathlib import Path

import pytest

from pretrain_monitor.audit.criteria import CHECKS, load_criteria, presets
from pretrain_monitor.config import ConfigError


def test_every_preset_can_be_read_and_asks_for_something():
    assert sorted(presets()) == ["checkpoint", "continue-pretraining", "production", "research"]
    for name in presets():
        criteria = load_criteria(name)
        assert criteria.name == name
        assert set(criteria.checks) <= set(CHECKS)
        assert any(one.need.value != "shown" for one in criteria.checks.values())


def test_production_asks_for_no_less_than_research():
    research, production = load_criteria("research"), load_criteria("production")
    order = ["shown", "advised", "required"]
    for name, ours in research.checks.items():
        theirs = production.checks[name]
        assert order.index(theirs.need.value) >= order.index(ours.need.value), name
        if ours.at_most is not None:
            assert theirs.at_most is not None and theirs.at_most <= ours.at_most, name
        else:
            assert theirs.at_least is not None and ours.at_least is not None and theirs.at_least >= ours.at_least, name


def test_a_file_extends_a_preset_or_a_file_beside_it(tmp_path: Path):
    (tmp_path / "ours.yaml").write_text(
        "extends: research\nmax_grad_norm: 1.0\nchecks:\n  schedule/decay: {need: required, at_most: 5}\n"
    )
    (tmp_path / "mine.yaml").write_text("extends: ours.yaml\nchecks:\n  data/same_step: {need: shown}\n")
    mine = load_criteria(tmp_path / "mine.yaml")
    assert (mine.name, mine.max_grad_norm) == ("mine", 1.0)
    assert mine.checks["schedule/decay"].at_most == 5
    assert mine.checks["data/same_step"].at_most is None
    assert mine.checks["stability/incidents"].at_most == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("checks:\n  stability/incident: {need: required, at_most: 0}\n", "did you mean 'stability/incidents'?"),
        ("checks:\n  schedule/decay: {need: required}\n", "give at_most or at_least"),
        ("checks:\n  schedule/decay: {at_most: 1, at_least: 2}\n", "not both"),
        ("checks:\n  schedule/decay: {need: wanted, at_most: 1}\n", "need"),
        ("checks:\n  schedule/decay: {at_most: .nan}\n", "at_most"),
        ("check: {}\n", "did you mean 'checks'?"),
        ("checks:\n  schedule/decay: {ned: required}\n", "did you mean 'need'?"),
        ("checks:\n  schedule/decay: {at_most: yes}\n", "at_most"),
        ("extends: reserch\n", "presets are checkpoint, continue-pretraining, production, research"),
        ("extends: this.yaml\n", "circle"),
        ("- a\n- b\n", "key: value"),
        ("max_grad_norm: -1\n", "max_grad_norm"),
        ("checks: 3\n", "checks"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(tmp_path: Path, text: str, said: str):
    path = tmp_path / "this.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_criteria(path)
    line = str(refused.value)
    assert said in line and "\n" not in line and "this.yaml" in line


def test_a_preset_that_does_not_exist_and_a_file_that_is_not_there():
    with pytest.raises(ConfigError, match="presets are"):
        load_criteria("reserch")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_criteria("nowhere.yaml")
