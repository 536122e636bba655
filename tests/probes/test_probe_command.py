"""``pretrain-monitor probe`` on real checkpoints of a tiny model."""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import pty
import shutil
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import COMMAND
from models_on_disk import TEXTS, save_model, save_tokenizer
from transformers.utils import logging as transformers_logging

from pretrain_monitor.output_files import OutputError
from pretrain_monitor.probes import ProbeError
from pretrain_monitor.probes.command import Wish, probe_models
from pretrain_monitor.probes.results import read_results

QUESTIONS = """
{"context": "the cat", "choices": ["sat", "dog"], "answer": 0}
{"context": "a dog that saw the", "choices": ["ran", "cat"], "answer": 1}
"""
PROBES = f"""
probes:
  - perplexity: {{domains: {{one: [{", ".join(TEXTS)!r}, "the dog"], two: ["the mat", "on the mat"]}}}}
  - choice: {{suites: {{pairs: questions.jsonl}}}}
  - tokenization: {{domains: {{one: [the dog sat on the mat]}}}}
"""


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")
    for name in names:
        monkeypatch.setenv(name, os.environ.get(name, ""))
    verbosity = transformers_logging.get_verbosity()
    yield
    transformers_logging.set_verbosity(verbosity)
    transformers_logging.enable_progress_bar()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints, with the only tokenizer of the run above them."""
    folder = tmp_path_factory.mktemp("run")
    for step in (20, 100):
        save_model(folder / f"checkpoint-{step}", seed=step, step=step, has_tokenizer=False)
    save_tokenizer(folder)
    return folder


@pytest.fixture
def probes(tmp_path: Path) -> str:
    (tmp_path / "questions.jsonl").write_text(QUESTIONS)
    (tmp_path / "probes.yaml").write_text(PROBES)
    return str(tmp_path / "probes.yaml")


def wish(models: list[Path], probes: str, **more: object) -> Wish:
    return Wish(models, probes, device="cpu", **more)  # type: ignore[arg-type]


def test_checkpoints_are_measured_in_order_and_written_to_both_files(
    run: Path, probes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code = probe_models(wish([run], probes, json=tmp_path / "r.json", html=tmp_path / "r.html"))
    out, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    assert "2 models, checkpoint-20 to checkpoint-100" in out
    for words in ("first (20)", "last (100)", "pairs", "bytes/token"):
        assert words in out
    results = read_results(tmp_path / "r.json")
    assert [model.step for model in results.models] == [20, 100]
    first = results.models[0]
    assert (first.dtype, first.vocabulary, first.tokenizer) == ("float32", 280, run.name)
    assert first.parameters is not None and first.parameters > 10_000
    assert {probe.kind for probe in first.probes} == {"perplexity", "choice", "tokenization"}
    assert first.metrics["heldout/one/bits_per_byte"] != results.models[1].metrics["heldout/one/bits_per_byte"]
    assert first.scores["heldout/one"].key == results.models[1].scores["heldout/one"].key, "the same documents"
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")


def test_a_model_that_cannot_be_loaded_is_one_line_and_the_others_go_on(
    run: Path, probes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    broken = shutil.copytree(run / "checkpoint-20", tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"cut")
    save_tokenizer(broken)
    code = probe_models(wish([tmp_path / "nothing", broken, run / "checkpoint-20"], probes))
    out, errors = capsys.readouterr()
    assert code == 2
    lines = errors.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["error:", "error:"]
    assert "nothing does not exist" in lines[0]
    assert "broken cannot be loaded" in lines[1]
    assert "checkpoint-20  step 20" in out


def test_a_probe_that_fails_on_one_model_is_one_line_and_the_other_probes_go_on(
    run: Path, probes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save_tokenizer(tmp_path / "other", 300)
    code = probe_models(wish([run / "checkpoint-20"], probes, tokenizer=tmp_path / "other", json=tmp_path / "r.json"))
    out, errors = capsys.readouterr()
    assert code == 2
    assert "error: checkpoint-20: heldout: the tokenizer gives token" in errors
    (model,) = read_results(tmp_path / "r.json").models
    assert {probe.kind for probe in model.probes if probe.metrics} >= {"tokenization"}
    assert "bytes/token" in out


def test_a_tokenizer_with_far_fewer_tokens_than_the_model_is_warned_of(
    run: Path, probes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save_model(tmp_path / "large")
    config = json.loads((tmp_path / "large" / "config.json").read_text())
    assert config["vocab_size"] == 280
    from tiny_models import tiny_llama

    tiny_llama(vocab_size=1000).save_pretrained(tmp_path / "large")
    assert probe_models(wish([tmp_path / "large"], probes)) == 0
    assert "the tokenizer has 280 tokens and the model 1,000" in " ".join(capsys.readouterr().out.split())


def test_a_text_that_is_missing_stops_it_before_anything_is_measured(run: Path, tmp_path: Path):
    (tmp_path / "p.yaml").write_text("probes: [{perplexity: {domains: {a: nothing.txt}}}]\n")
    with pytest.raises(ProbeError, match=r"p\.yaml: probes\.0\.perplexity: domain 'a': file"):
        probe_models(wish([run], str(tmp_path / "p.yaml"), json=tmp_path / "r.json"))
    assert not (tmp_path / "r.json").exists()


def test_a_checkpoint_without_a_tokenizer_says_how_to_give_one(
    run: Path, probes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    alone = shutil.copytree(run / "checkpoint-20", tmp_path / "deeper" / "alone")
    assert probe_models(wish([alone], probes)) == 2
    assert "no tokenizer in it or above it; give its path as --tokenizer" in capsys.readouterr().err
    assert probe_models(wish([alone], probes, tokenizer=run)) == 0


def test_a_tokenizer_alone_is_measured_without_reading_any_weights(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    unreadable = shutil.copytree(run / "checkpoint-20", tmp_path / "m")
    save_tokenizer(unreadable)
    (unreadable / "model.safetensors").write_bytes(b"no weights")
    (tmp_path / "p.yaml").write_text("probes: [{tokenization: {domains: {a: [the dog]}}}]\n")
    assert probe_models(wish([unreadable], str(tmp_path / "p.yaml"))) == 0
    assert "bytes/token" in capsys.readouterr().out


def test_a_reference_is_compared_with_on_the_same_documents(
    run: Path, probes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "r.json"
    probe_models(wish([run / "checkpoint-20"], probes, json=path))
    capsys.readouterr()
    probe_models(wish([run / "checkpoint-100"], probes, reference=path))
    out = " ".join(capsys.readouterr().out.split())
    assert "gap to reference" in out
    assert "needs more than checkpoint-20" in out
    assert "not paired" not in out


def test_a_limit_reaches_the_probes(run: Path, probes: str, tmp_path: Path):
    probe_models(wish([run / "checkpoint-20"], probes, limit=1, json=tmp_path / "r.json"))
    (model,) = read_results(tmp_path / "r.json").models
    assert {name: len(scores.nats) for name, scores in model.scores.items()} == {
        "heldout/one": 1,
        "heldout/two": 1,
        "task/pairs": 1,
    }


@pytest.mark.parametrize(
    ("option", "path", "said"),
    [
        ("json", "r.txt", "--json .*r.txt: give a file that ends in .json"),
        ("json", "nowhere/r.json", "the directory .*nowhere does not exist"),
        ("html", "r.png", "give a file that ends in .html"),
        ("json", "/proc/r.json", "cannot be written"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    run: Path, probes: str, tmp_path: Path, option: str, path: str, said: str
):
    with pytest.raises(OutputError, match=said):
        probe_models(wish([run], probes, **{option: tmp_path / path}))


def test_nothing_that_is_read_is_written_over(run: Path, probes: str, tmp_path: Path):
    path = tmp_path / "r.json"
    probe_models(wish([run / "checkpoint-20"], probes, json=path))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="read by this command"):
        probe_models(wish([run], probes, json=path, reference=path))
    assert path.read_bytes() == before


def test_what_was_measured_before_an_interrupt_is_in_the_file(run: Path, probes: str, tmp_path: Path):
    path = tmp_path / "r.json"
    models = [tmp_path / "copies" / f"checkpoint-{step}" for step in range(1, 60)]
    for model in models:
        shutil.copytree(run / "checkpoint-20", model)
        (model / "trainer_state.json").unlink()
    save_tokenizer(tmp_path / "copies")

    def interrupt() -> None:
        while not path.exists():
            time.sleep(0.01)
        _thread.interrupt_main()

    watcher = threading.Thread(target=interrupt, daemon=True)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        probe_models(wish([tmp_path / "copies"], probes, json=path))
    assert 1 <= len(read_results(path).models) < len(models)


def test_in_a_terminal_a_bar_shows_model_probe_and_speed_and_leaves_nothing_behind(run: Path, probes: str):
    main, other = pty.openpty()
    termios.tcsetwinsize(other, (40, 120))
    arguments = [*COMMAND, "probe", run, "--probes", probes, "--device", "cpu"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        list(map(str, arguments)), stdout=subprocess.PIPE, stderr=other, env=environment, text=True
    )
    os.close(other)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
        while part := os.read(main, 65536):
            shown += part
    os.close(main)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    text = shown.decode()
    assert "1/2 checkpoint-20: heldout" in text
    assert "2/2 checkpoint-100: tasks" in text
    assert "tokens/s" in text
    assert "\x1b" not in out
    assert "tokens/s" not in out, "with two models the table has no room for it"
