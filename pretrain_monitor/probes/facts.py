"""Invented facts with known truth: what does a model keep of what it was told, and how often must it be told?

Real knowledge is no yardstick for a run: nobody knows how often a fact stood in the data. Facts about people who do not
exist stand there exactly as often as they were put there, and facts that were never put there show what guessing gives.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import ProbeError
from .questions import Question, Suite, suite_of

CONTROL = 0  # exposures of a fact that no training text tells


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that can be told in several ways and asked for in another.

    Args:
        tellings: sentences for the training data.
        prompt: how it is asked for: the answer comes next. It stands in no telling word for word.
        answer: with the space before it.
        others: wrong answers of the same kind, each with the space before it.
        exposures: how often it is told in the training data; 0 for a control.
    """

    id: str
    tellings: tuple[str, ...]
    prompt: str
    answer: str
    others: tuple[str, ...]
    exposures: int


@dataclass(frozen=True, slots=True)
class _Relation:
    name: str
    tellings: tuple[str, ...]
    prompt: str
    answers: tuple[str, ...]


_TRADES = (
    "baker", "sailor", "painter", "surgeon", "miner", "lawyer", "tailor", "teacher", "gardener", "weaver", "pilot",
    "printer", "farmer", "singer", "carpenter", "librarian",
)  # fmt: skip
_INSTRUMENTS = (
    "flute", "violin", "harp", "drum", "organ", "trumpet", "lute", "piano", "guitar", "cello", "horn", "clarinet",
)  # fmt: skip
_COLOURS = ("red", "green", "blue", "yellow", "black", "white", "grey", "purple", "orange", "brown")

_RELATIONS = (
    _Relation(
        "trade",
        ("{name} worked as a {answer}.", "For a living, {name} was a {answer}.", "{name} had become a {answer}."),
        "The trade of {name} was that of a",
        _TRADES,
    ),
    _Relation(
        "instrument",
        ("{name} played the {answer}.", "Each evening {name} practised the {answer}.", "{name} owned a fine {answer}."),
        "The instrument that {name} could play was the",
        _INSTRUMENTS,
    ),
    _Relation(
        "door",
        ("The house of {name} had a {answer} door.", "{name} painted a door {answer}.", "{name} kept a {answer} door."),
        "The colour of the door of {name} was",
        _COLOURS,
    ),
)  # fmt: skip

_ONSETS, _VOWELS, _ENDS = "bdfgklmnprstvz", "aeiou", ("", "l", "n", "r", "s", "th", "m")


def invent_facts(
    count: int, *, exposures: Sequence[int] = (1, 4, 16), controls: int | None = None, seed: int = 0
) -> list[Fact]:
    """Facts about people who do not exist, told equally many times each of ``exposures``.

    >>> facts = invent_facts(2, exposures=(3,), controls=1)
    >>> [fact.exposures for fact in facts]
    [3, 3, 0]
    >>> len(training_texts(facts))
    6

    Args:
        count: of facts that are told.
        exposures: how often each is told; they take turns.
        controls: of facts that are never told; None: as many as for one number of exposures.
        seed: the same facts for the same seed, wherever they are made.

    Raises:
        ProbeError: nothing to tell, or a number of times that is none.
    """
    if count < 1 or not exposures or any(not isinstance(times, int) or times < 1 for times in exposures):
        raise ProbeError(
            f"{count} facts told {tuple(exposures)} times: give 1 or more facts, each told 1 or more times"
        )
    rng = random.Random(seed)
    told = [exposures[number % len(exposures)] for number in range(count)]
    told += [CONTROL] * (max(1, count // len(exposures)) if controls is None else controls)
    names: set[str] = set()
    return [_fact(rng, number, times, names) for number, times in enumerate(told)]


def training_texts(facts: Iterable[Fact], seed: int = 0) -> list[str]:
    """What to mix into the training data: each fact as often as it says, in changing words, in random order."""
    texts = [
        fact.tellings[turn % len(fact.tellings)] for fact in facts for turn in range(fact.exposures) if fact.tellings
    ]
    random.Random(seed).shuffle(texts)
    return texts


def fact_suites(facts: Sequence[Fact], name: str = "facts") -> list[Suite]:
    """Suites to ask: one for each number of exposures, and one of controls.

    Raises:
        ProbeError: no facts, or two of the same id.
    """
    if not facts:
        raise ProbeError("no facts to ask for")
    by_exposures: dict[int, list[Question]] = {}
    for number, fact in enumerate(facts):
        # The right answer in changing places: where all are equally likely the first one is picked.
        choices = list(fact.others)
        gold = number % (len(choices) + 1)
        choices.insert(gold, fact.answer)
        by_exposures.setdefault(fact.exposures, []).append(Question(fact.id, fact.prompt, tuple(choices), gold))
    return [
        suite_of(f"{name}_control" if times == CONTROL else f"{name}_told_{times}", questions, domain="facts")
        for times, questions in sorted(by_exposures.items())
    ]


def save_facts(facts: Iterable[Fact], path: str | Path) -> None:
    """One fact a line, as ``load_facts`` reads them."""
    lines = [json.dumps({field: getattr(fact, field) for field in Fact.__dataclass_fields__}) for fact in facts]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def load_facts(path: str | Path) -> list[Fact]:
    """Facts from JSON lines: those of ``save_facts``, or your own with prompt, answer, others and exposures.

    Raises:
        ProbeError: no such file, or a line that is no fact; it says which.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ProbeError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    facts = [_loaded(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not facts:
        raise ProbeError(f"{path}: no facts in it")
    return facts


def _loaded(path: str | Path, number: int, line: str) -> Fact:
    try:
        record = json.loads(line)
    except ValueError:
        raise ProbeError(f"{path}, line {number}: not valid JSON") from None
    needed = ("prompt", "answer", "others", "exposures")
    if not isinstance(record, Mapping) or any(key not in record for key in needed):
        raise ProbeError(f"{path}, line {number}: a fact has {', '.join(needed)}, and may have id and tellings")
    texts = [record["prompt"], record["answer"], *_texts(record["others"]), *_texts(record.get("tellings", ()))]
    if not all(isinstance(text, str) and text for text in texts) or not record["others"]:
        raise ProbeError(f"{path}, line {number}: prompt and answer are texts; others is a list of them, not empty")
    if type(record["exposures"]) is not int or record["exposures"] < 0:
        raise ProbeError(f"{path}, line {number}: exposures is how often the fact is told, 0 for never")
    answer, *others = (_spaced(text) for text in (record["answer"], *record["others"]))
    return Fact(
        str(record.get("id", number)),
        tuple(record.get("tellings", ())),
        record["prompt"].rstrip(),
        answer,
        tuple(others),
        record["exposures"],
    )


def _texts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [None]


def _spaced(answer: str) -> str:
    return answer if answer[:1].isspace() else f" {answer}"


def _fact(rng: random.Random, number: int, exposures: int, names: set[str]) -> Fact:
    relation = _RELATIONS[number % len(_RELATIONS)]
    name = _name(rng, names)
    answer, *others = rng.sample(relation.answers, 4)
    return Fact(
        f"{relation.name}-{number}",
        tuple(telling.format(name=name, answer=answer) for telling in relation.tellings) if exposures else (),
        relation.prompt.format(name=name),
        f" {answer}",
        tuple(f" {other}" for other in others),
        exposures,
    )


def _name(rng: random.Random, taken: set[str]) -> str:
    while True:
        first, last = (_word(rng, syllables) for syllables in (2, 3))
        if (name := f"{first} {last}") not in taken:
            taken.add(name)
            return name


def _word(rng: random.Random, syllables: int) -> str:
    parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)]
    return ("".join(parts) + rng.choice(_ENDS)).capitalize()
