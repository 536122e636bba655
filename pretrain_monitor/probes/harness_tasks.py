"""Reads task files in the style of lm-evaluation-harness, as far as they are data and no code.

    task: capitals
    data: capitals.jsonl            # or dataset_path: json, with dataset_kwargs: {data_files: ...}
    output_type: multiple_choice    # or loglikelihood
    doc_to_text: "Question: {{question}}\\nAnswer:"
    doc_to_choice: choices          # a field, a template, or a list
    doc_to_target: answer

The requests are the ones that lm-evaluation-harness 0.4.13 makes of the same file without few-shot examples.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .base import ProbeError
from .harness_data import Doc, read_docs
from .question_files import gold_of
from .questions import Question

_READ = {
    "data",
    "dataset_path",
    "dataset_kwargs",
    "training_split",
    "validation_split",
    "test_split",
    "output_type",
    "doc_to_text",
    "doc_to_choice",
    "doc_to_target",
    "target_delimiter",
    "description",
    "num_fewshot",
}
# They say how to present, group or score a task and do not change what is asked.
_IGNORED = {
    "task",
    "task_alias",
    "tag",
    "group",
    "dataset_name",
    "fewshot_split",
    "fewshot_config",
    "fewshot_delimiter",
    "metric_list",
    "metadata",
    "repeats",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "generation_kwargs",
}


class _Loader(yaml.SafeLoader):
    """YAML that names no code."""


def _no_code(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    raise ProbeError(
        f"line {node.start_mark.line + 1} has the tag !{tag}: code named in a task is not run; say the same in a jinja "
        "template, or write the questions to a .jsonl file"
    )


_Loader.add_multi_constructor("!", _no_code)


def read_task(path: Path) -> list[Question]:
    """Questions of one task whose data are files on this machine.

    Raises:
        ProbeError: not readable, or it needs something that is not supported, which the message names.
    """
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # _Loader is a SafeLoader
    except OSError as problem:
        raise ProbeError(f"task {path} cannot be read: {problem.strerror or problem}") from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ProbeError(f"task {path} is not YAML: {' '.join(str(problem).split())}") from problem
    except ProbeError as problem:
        raise ProbeError(f"task {path} {problem}") from problem
    if not isinstance(settings, dict):
        raise ProbeError(f"task {path} holds no settings: it needs data, doc_to_text, doc_to_choice and doc_to_target")
    task = _Task(path, settings)
    docs = read_docs(path, settings)
    return [task.question(doc, number) for number, doc in enumerate(docs, start=1)]


class _Task:
    """The settings of a task, and the question that they make of each document."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._where = f"task {path}"
        _check(self._where, settings)
        self._text = settings["doc_to_text"]
        self._choice = settings.get("doc_to_choice")
        self._target = settings["doc_to_target"]
        self._description = settings.get("description") or ""
        delimiter = settings.get("target_delimiter")
        self._delimiter = " " if delimiter is None else str(delimiter)
        self._templates = _Templates(self._where)

    def question(self, doc: Doc, number: int) -> Question:
        where = f"{self._where}, question {number}"
        before = self._value(self._description, doc, where)
        text = self._value(self._text, doc, where)
        target = self._value(self._target, doc, where)
        if self._choice is None:
            # Without a delimiter, as there: for this output type the target brings its own white space.
            return Question(str(number), f"{before}{text}", (_one(target, where),), 0)
        choices = self._choices(doc, where)
        index = self._number(self._text, text)
        if index is not None:
            # The choices are beginnings, doc_to_text says which is right, and doc_to_target is the end of them all.
            contexts = tuple(f"{before}{choice}" for choice in choices)
            ends = (f"{self._delimiter}{_one(target, where)}",) * len(choices)
            return Question(str(number), "", ends, gold_of(index, choices, where), contexts)
        if isinstance(target, list) and len(target) == 1:
            target = target[0]
        if isinstance(target, list):
            raise ProbeError(f"{where} has {len(target)} right answers: one is supported")
        index = self._number(self._target, target)
        gold = gold_of(target if index is None else index, choices, where)
        return Question(str(number), f"{before}{text}", tuple(f"{self._delimiter}{one}" for one in choices), gold)

    @staticmethod
    def _number(setting: Any, value: Any) -> int | None:
        """The number of a choice that was given: as a number, or as digits that a template wrote.

        Digits in a field of the document are a text: "2" may be the second of the choices "1", "2" and "3".
        """
        if isinstance(value, int):
            return int(value)
        wrote = isinstance(value, str) and value.isdecimal() and "{" in str(setting)
        return int(value) if wrote else None

    def _choices(self, doc: Doc, where: str) -> list[str]:
        if isinstance(self._choice, list | dict):
            choices: Any = list(self._choice.values() if isinstance(self._choice, dict) else self._choice)
        else:
            choices = self._value(self._choice, doc, where)
        if isinstance(choices, str):
            choices = _literal(choices)
        if not isinstance(choices, list | tuple) or len(choices) < 2:
            raise ProbeError(f"{where}: doc_to_choice gives {choices!r}; it must give a list of two or more")
        return [str(choice) for choice in choices]

    def _value(self, setting: Any, doc: Doc, where: str) -> Any:
        """A field of the document when the setting names one, else the setting as a template."""
        if not isinstance(setting, str):
            return setting
        return doc[setting] if setting in doc else self._templates.render(setting, doc, where)


class _Templates:
    """Jinja templates, which may come from other people: they see the document and nothing else."""

    def __init__(self, where: str) -> None:
        try:
            from jinja2 import StrictUndefined, TemplateError
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError as problem:
            raise ProbeError(f"{where} needs jinja2: pip install jinja2") from problem
        self._environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        self._environment.filters["regex_replace"] = _regex_replace
        self._problem = TemplateError
        self._known: dict[str, Any] = {}

    def render(self, template: str, doc: Doc, where: str) -> str:
        try:
            if template not in self._known:
                self._known[template] = self._environment.from_string(template)
            return str(self._known[template].render(doc))
        except self._problem as problem:
            raise ProbeError(f"{where}: template {template!r}: {problem}; fields: {', '.join(doc)}") from problem
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as problem:
            raise ProbeError(f"{where}: template {template!r}: {type(problem).__name__}: {problem}") from problem


def _regex_replace(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    return re.sub(pattern, replacement, text, count=count)


def _check(where: str, settings: dict[str, Any]) -> None:
    unknown = sorted(str(key) for key in settings if key not in _READ | _IGNORED)
    if unknown:
        inherited = " (put what it includes into the file itself)" if "include" in unknown else ""
        raise ProbeError(f"{where}: {', '.join(unknown)} not supported{inherited}; read are {', '.join(sorted(_READ))}")
    output = settings.get("output_type", "generate_until")
    if output not in ("multiple_choice", "loglikelihood"):
        raise ProbeError(f"{where}: output_type {output} is not supported; use multiple_choice or loglikelihood")
    if settings.get("num_fewshot"):
        raise ProbeError(f"{where}: num_fewshot draws examples, which is not supported; write them into description")
    needed = ["doc_to_text", "doc_to_target"] + ["doc_to_choice"] * (output == "multiple_choice")
    missing = [key for key in needed if settings.get(key) is None]
    if missing:
        raise ProbeError(f"{where}: {' and '.join(missing)} missing; output_type {output} needs {', '.join(needed)}")
    if output == "loglikelihood" and settings.get("doc_to_choice") is not None:
        raise ProbeError(f"{where}: doc_to_choice belongs to output_type multiple_choice")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _one(target: Any, where: str) -> str:
    if isinstance(target, Sequence) and not isinstance(target, str):
        raise ProbeError(f"{where}: doc_to_target gives {target!r}; one text is supported")
    return str(target)
