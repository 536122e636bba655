from __future__ import annotations

import json
from pathlib import Path

import pytest
from models_on_disk import save_tokenizer

from pretrain_monitor.probes import ProbeError
from pretrain_monitor.probes.checkpoints import checked, find_checkpoints, short_names, tokenizer_mark


def model(folder: Path, *, step: int | None = None) -> Path:
    """What makes a directory look like a model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    if step is not None:
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


def test_a_directory_of_checkpoints_is_read_in_order_of_their_steps(tmp_path: Path):
    for step in (1000, 200, 50):
        model(tmp_path / "run" / f"checkpoint-{step}")
    (tmp_path / "run" / "logs").mkdir()
    found = find_checkpoints([tmp_path / "run"])
    assert [one.step for one in found] == [50, 200, 1000]
    assert short_names(found) == ["checkpoint-50", "checkpoint-200", "checkpoint-1000"]


def test_what_a_shell_makes_of_a_pattern_is_put_in_order_and_all_else_is_not(tmp_path: Path):
    base = model(tmp_path / "base")
    run = sorted(model(tmp_path / "run" / f"checkpoint-{step}") for step in (1000, 200, 50))
    other = model(tmp_path / "other" / "checkpoint-7")
    found = find_checkpoints([base, *run, other])
    assert [one.step for one in found] == [None, 50, 200, 1000, 7]


def test_a_path_given_twice_is_one_model(tmp_path: Path):
    run = model(tmp_path / "m")
    assert len(find_checkpoints([run, f"{run}/"])) == 1


def test_the_step_is_what_the_trainer_says_or_else_the_name(tmp_path: Path):
    said = model(tmp_path / "checkpoint-9", step=300)
    (model(tmp_path / "step_40") / "trainer_state.json").write_text("{cut off")
    steps = [one.step for one in find_checkpoints([said, tmp_path / "step_40", model(tmp_path / "final-2")])]
    assert steps == [40, 300, None]


def test_a_directory_that_is_a_model_is_one_even_with_checkpoints_in_it(tmp_path: Path):
    model(tmp_path / "run")
    model(tmp_path / "run" / "checkpoint-5")
    assert [one.path for one in find_checkpoints([tmp_path / "run"])] == [tmp_path / "run"]


def test_models_of_the_same_name_are_told_apart_by_their_directories(tmp_path: Path, monkeypatch):
    paths = [model(tmp_path / run / "checkpoint-5") for run in ("a", "b")]
    assert short_names(find_checkpoints(paths)) == ["a/checkpoint-5", "b/checkpoint-5"]
    monkeypatch.chdir(paths[0])
    assert short_names(find_checkpoints(["."])) == ["checkpoint-5"]


def test_a_gguf_file_is_a_model_with_its_own_tokenizer(tmp_path: Path):
    (tmp_path / "m.gguf").touch()
    (found,) = find_checkpoints([tmp_path / "m.gguf"])
    assert (found.problem, found.is_gguf, found.tokenizer) == (None, True, tmp_path / "m.gguf")


def test_the_tokenizer_is_in_the_checkpoint_or_above_it(tmp_path: Path):
    for step in (1, 2):
        model(tmp_path / "run" / f"checkpoint-{step}")
    save_tokenizer(tmp_path / "run")
    save_tokenizer(tmp_path / "run" / "checkpoint-2")
    above, within = find_checkpoints([tmp_path / "run"])
    assert (above.tokenizer, within.tokenizer) == (tmp_path / "run", tmp_path / "run" / "checkpoint-2")
    (without,) = find_checkpoints([model(tmp_path / "alone" / "m")])
    assert without.tokenizer is None


def test_copies_of_a_tokenizer_have_the_same_mark_and_others_another(tmp_path: Path):
    for name, size in (("a", 270), ("b", 270), ("c", 280)):
        save_tokenizer(tmp_path / name, size)
    a, b, c = (tokenizer_mark(tmp_path / name) for name in "abc")
    assert a == b != c


def files(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "has no config.json and no checkpoint-* in it"),
        (("config.json",), "has no weights in it (model.safetensors)"),
        (("adapter_config.json", "adapter_model.safetensors"), "holds an adapter"),
        (("config.json", "pytorch_model_fsdp_0"), "accelerate merge-weights"),
        (("config.json", "zero_to_fp32.py"), "holds the shards of DeepSpeed"),
        (("model.Q4.gguf",), "name the file in it, such as model.Q4.gguf"),
    ],
)
def test_what_is_no_model_says_why_and_what_to_do(tmp_path: Path, names: tuple[str, ...], said: str):
    (found,) = find_checkpoints([files(tmp_path / "m", *names)])
    with pytest.raises(ProbeError) as caught:
        checked(found)
    assert said in str(caught.value)
    assert str(tmp_path / "m") in str(caught.value)


def test_a_path_that_is_not_there_or_a_file_is_told_what_is_allowed(tmp_path: Path):
    (tmp_path / "model.bin").touch()
    missing, file = find_checkpoints([tmp_path / "nothing", tmp_path / "model.bin"])
    for found, said in ((missing, "nothing does not exist"), (file, "model.bin is a file and no .gguf")):
        assert found.problem is not None
        assert f"{said}; give the directory of a Hugging Face model" in found.problem


def test_a_broken_checkpoint_among_others_is_there_with_its_problem(tmp_path: Path):
    model(tmp_path / "run" / "checkpoint-1")
    (tmp_path / "run" / "checkpoint-2").mkdir()
    good, bad = find_checkpoints([tmp_path / "run"])
    assert good.problem is None
    assert bad.problem is not None
    assert bad.step == 2
