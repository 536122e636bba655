from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pretrain_monitor.probes import ProbeError, Scores
from pretrain_monitor.probes.results import (
    ModelResult,
    ProbeOutcome,
    Results,
    read_reference,
    read_results,
    write_results,
)

SCORES = Scores(np.array([1.5, math.nan]), np.array([3, 4]), np.array([12, 16]), "key", np.array([1.0, 0.0]))
PROBE = ProbeOutcome(
    "heldout",
    "perplexity",
    {"heldout/a/perplexity": math.inf, "heldout/a/loss": math.nan, "heldout/a/bits_per_byte": 1.25},
    {"heldout/a": SCORES},
    ("a note",),
    1.5,
    tokens_per_second=1000.0,
    peak_memory=10**9,
)
MODEL = ModelResult(
    "runs/x/checkpoint-5", "checkpoint-5", 5, 1000, "bfloat16", "x", 256, 0.5, (PROBE,), ("of the model",)
)
BROKEN = ModelResult("runs/x/checkpoint-6", "checkpoint-6", problem="cannot be loaded")
RESULTS = Results((MODEL, BROKEN), "probes.yaml", "cuda:0", {"torch": "2.13.0"}, "2026-01-01T00:00:00+00:00")


def test_what_is_written_is_read_back(tmp_path: Path):
    path = tmp_path / "results.json"
    write_results(RESULTS, path)
    found = read_results(path)
    # NaN is not equal to itself, its spelling is.
    assert repr(found) == repr(RESULTS)
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [model.name for model in found.measured] == ["checkpoint-5"]
    assert found.models[1].problems == ["cannot be loaded"]


def test_the_reference_is_the_last_model_that_was_measured(tmp_path: Path):
    write_results(RESULTS, tmp_path / "results.json")
    assert read_reference(tmp_path / "results.json").name == "checkpoint-5"
    write_results(replace(RESULTS, models=(BROKEN,)), tmp_path / "none.json")
    with pytest.raises(ProbeError, match=r"none\.json: no model was measured"):
        read_reference(tmp_path / "none.json")


def test_all_documents_of_a_probe_are_those_of_its_domains_and_of_no_other_probe():
    scores = {name: replace_key(name) for name in ("heldout/a", "heldout/b", "heldout/second/a")}
    model = replace(MODEL, probes=(replace(PROBE, scores=scores),))
    of_all, alone = model.scores_of("heldout/micro"), model.scores_of("heldout/second/micro")
    assert of_all is not None and alone is not None
    assert (of_all.key, len(of_all.nats)) == ("heldout/a heldout/b", 4)
    assert (alone.key, len(alone.nats)) == ("heldout/second/a", 2)
    assert model.scores_of("heldout/c") is None


def replace_key(key: str) -> Scores:
    return Scores(SCORES.nats, SCORES.tokens, SCORES.bytes, key)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "results.json"
    write_results(RESULTS, path)
    before = path.read_text()
    bad = replace(RESULTS, models=(replace(MODEL, step=object()),))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        write_results(bad, path)
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_link_stays_one(tmp_path: Path):
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_results(RESULTS, tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert read_results(tmp_path / "real.json").device == "cuda:0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file; pretrain-monitor probe --json writes one"),
        ("nonsense", "not JSON"),
        ("[1]", "no results of probes"),
        ('{"format": "pretrain-monitor probe results", "version": 9}', "version 9 of the format, and this program rea"),
        ('{"format": "pretrain-monitor probe results", "version": 1}', "damaged: KeyError"),
        ('{"format": "pretrain-monitor probe results", "version": 1, "models": [3]}', "damaged: TypeError"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_file_of_something_else_is_one_line(tmp_path: Path, text: str | None, said: str):
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ProbeError) as caught:
        read_results(path)
    assert said in str(caught.value)
    assert "r.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scores_of_different_lengths_are_damage(tmp_path: Path):
    path = tmp_path / "r.json"
    write_results(RESULTS, path)
    record = json.loads(path.read_text())
    record["models"][0]["probes"][0]["scores"]["heldout/a"]["tokens"].pop()
    path.write_text(json.dumps(record))
    with pytest.raises(ProbeError, match="damaged: ValueError scores of different lengths"):
        read_results(path)
