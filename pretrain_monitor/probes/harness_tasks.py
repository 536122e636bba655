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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .base import ProbeError
from .harness_data import Doc, read_docs
from .question_files import check_spelling, gold_of
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
    where = f"task {path}"
    _check(where, settings)
    docs = read_docs(path, settings)
    fields = {name for doc in docs for name in doc}
    _check_names(where, settings, fields)
    task = _Task(where, settings, fields)
    return [task.question(doc, number) for number, doc in enumerate(docs, start=1)]


class _Task:
    """The settings of a task, and the question that they make of each document.

    Args:
        fields: of any of its documents.
    """

    def __init__(self, where: str, settings: dict[str, Any], fields: set[str]) -> None:
        self._where = where
        self._fields = fields
        self._text = settings["doc_to_text"]
        self._choice = settings.get("doc_to_choice")
        self._target = settings["doc_to_target"]
        self._description = settings.get("description") or ""
        delimiter = settings.get("target_delimiter")
        self._delimiter = " " if delimiter is None else str(delimiter)
        self._templates = _Templates(where)

    def question(self, doc: Doc, number: int) -> Question:
        where = f"{self._where}, question {number}"
        question = self._asked(doc, str(number), where)
        for context, choice in question.texts():
            check_spelling(context + choice, where)
        return question

    def _asked(self, doc: Doc, id: str, where: str) -> Question:
        before = _one(self._value(self._description, doc, where), "description", where)
        text = self._value(self._text, doc, where)
        target = self._value(self._target, doc, where)
        if self._choice is None:
            # Without a delimiter, as there: for this output type the target brings its own white space.
            end = _one(target, "doc_to_target", where)
            return Question(id, before + _one(text, "doc_to_text", where), (end,), 0)
        choices = self._choices(doc, where)
        index = self._number(self._text, text)
        if index is not None:
            # The choices are beginnings, doc_to_text says which is right, and doc_to_target is the end of them all.
            contexts = tuple(before + choice for choice in choices)
            ends = (self._delimiter + _one(target, "doc_to_target", where),) * len(choices)
            return Question(id, "", ends, gold_of(index, choices, where), contexts)
        if isinstance(target, list) and len(target) == 1:
            target = target[0]
        if isinstance(target, list):
            raise ProbeError(f"{where} has {len(target)} right answers: one is supported")
        index = self._number(self._target, target)
        gold = gold_of(target if index is None else index, choices, where)
        context = before + _one(text, "doc_to_text", where)
        return Question(id, context, tuple(self._delimiter + choice for choice in choices), gold)

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
            if any(isinstance(choice, bool) for choice in choices):
                raise ProbeError(
                    f"{where}: doc_to_choice gives {choices!r}: YAML reads yes, no, on and off so; quote them"
                )
        else:
            choices = self._value(self._choice, doc, where)
        if isinstance(choices, str):
            choices = _literal(choices)
        if not isinstance(choices, list | tuple) or len(choices) < 2:
            raise ProbeError(f"{where}: doc_to_choice gives {choices!r}; it must give a list of two or more")
        return [_one(choice, "doc_to_choice", where) for choice in choices]

    def _value(self, setting: Any, doc: Doc, where: str) -> Any:
        """A field of the document when the setting names one, else the setting as a template."""
        if not isinstance(setting, str):
            return setting
        if setting not in self._fields:
            return self._templates.render(setting, doc, where)
        if doc.get(setting) is None:
            raise ProbeError(f"{where} has nothing in its field {setting}: fill it in, or leave the question out")
        return doc[setting]


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
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, re.error) as problem:
            raise ProbeError(f"{where}: template {template!r}: {type(problem).__name__}: {problem}") from problem


def _regex_replace(string: str, pattern: str, repl: str, count: int = 0) -> str:
    return re.sub(pattern, repl, string, count=count)  # templates may name its arguments, as they are named there


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


def _check_names(where: str, settings: dict[str, Any], fields: set[str]) -> None:
    """A word that names no field is a template without a field in it: every question would be the same."""
    for key in ["doc_to_text"] + ["doc_to_target"] * (settings["output_type"] == "loglikelihood"):
        setting = settings[key]
        if isinstance(setting, str) and setting.isidentifier() and setting not in fields:
            raise ProbeError(f"{where}: {key} {setting} is no field of its data; fields: {', '.join(sorted(fields))}")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _one(value: Any, setting: str, where: str) -> str:
    if value is None or (isinstance(value, Sequence | Mapping) and not isinstance(value, str)):
        raise ProbeError(f"{where}: {setting} gives {value!r}; one text is supported")
    return str(value)
