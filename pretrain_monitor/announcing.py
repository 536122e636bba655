"""What a human says about a run while it goes on, on its way to the sample that carries it."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from .config import WhatChanges
from .printable import clean
from .telemetry import Sample

KEY = "announced"  # in the meta of a sample
MAX_WAITING = 64
MAX_PAST_STEPS = 1000  # what began earlier has been judged, and told, long ago
_MAX_TEXT = 200

_WHATS: tuple[str, ...] = get_args(WhatChanges)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A change on purpose.

    Args:
        said_after: optimizer steps completed when it was said; resuming from fewer takes it back.
        step: first step that is trained in the new way.
        what: one of ``WhatChanges``.
        text: in the user's words, one line.
    """

    said_after: int
    step: int
    what: str
    text: str

    @classmethod
    def of(cls, text: object, step: object, what: object, said_after: int) -> Announcement:
        """What a user said, checked.

        Args:
            step: None for the next one.

        Raises:
            ValueError: one line that says what was given and what is allowed.
        """
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"text = {text!r}: say in a few words what changes")
        if what not in _WHATS:
            raise ValueError(f"what = {what!r}: choose one of {', '.join(_WHATS)}")
        first = said_after + 1 if step is None else _whole(step)
        if first < 1:
            raise ValueError(f"step = {step!r}: give the first step that is trained in the new way, 1 or more")
        return cls(said_after, first, str(what), " ".join(clean(text).split())[:_MAX_TEXT])

    @property
    def is_past(self) -> bool:
        """Whether it comes too late to explain anything."""
        return self.step <= self.said_after - MAX_PAST_STEPS

    def to_json(self) -> dict[str, Any]:
        """A record of the run log, where ``step`` is when something was written."""
        return {"step": self.said_after, "from_step": self.step, "what": self.what, "text": self.text}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Announcement:
        said_after, step, what, text = (record[name] for name in ("step", "from_step", "what", "text"))
        if type(said_after) is not int or type(step) is not int or not isinstance(what, str):
            raise TypeError("steps are counted, and what changes has a name")
        if not isinstance(text, str):
            raise TypeError("text is in words")
        return cls(said_after, step, what, text)


class Announcements:
    """Those that wait for their sample: the first one of a step after they were said.

    The live run and every reader of its log hand them on by this one rule, so that both see the same samples.

    >>> waiting = Announcements()
    >>> waiting.add(Announcement(4, 5, "data_stage", "stage 2: code"))
    True
    >>> [waiting.carried_by(Sample(step, {"loss": 2.0})).meta for step in (4, 5, 6)]
    [None, {'announced': [{'text': 'stage 2: code', 'what': 'data_stage', 'step': 5}]}, None]
    """

    def __init__(self) -> None:
        self._waiting: deque[Announcement] = deque(maxlen=MAX_WAITING)

    def add(self, announcement: Announcement) -> bool:
        """Whether it is news: a loop that resumes may say again what the log says already."""
        news = (announcement.step, announcement.what, announcement.text)
        if any((known.step, known.what, known.text) == news for known in self._waiting):
            return False
        self._waiting.append(announcement)
        return True

    def begin(self, resumed_from: int | None) -> None:
        """A session begins; one from the start leaves behind what was said before it."""
        if not resumed_from:
            self._waiting.clear()

    def carried_by(self, sample: Sample) -> Sample:
        """The sample with what it has to carry."""
        if not self._waiting:
            return sample
        due = [waiting for waiting in self._waiting if waiting.said_after < sample.step]
        if not due:
            return sample
        meta = dict(sample.meta or {})
        carried = [{"text": said.text, "what": said.what, "step": said.step} for said in due]
        meta[KEY] = [*before, *carried] if isinstance(before := meta.get(KEY), list | tuple) else carried
        for announcement in due:
            self._waiting.remove(announcement)
        return Sample(sample.step, sample.metrics, sample.tokens_seen, sample.time, meta)


def announced_in(step: int, meta: Mapping[str, Any] | None) -> list[Announcement]:
    """What the sample of ``step`` carries; entries in another form, as somebody else's log may hold, are passed over.

    >>> announced_in(7, {"announced": [{"text": "longer sequences", "what": "sequence_length"}, "what?"]})
    [Announcement(said_after=6, step=7, what='sequence_length', text='longer sequences')]
    """
    entries = meta.get(KEY) if meta else None
    found = []
    for entry in entries if isinstance(entries, list | tuple) else ():
        text = entry.get("text") if isinstance(entry, Mapping) else None
        if isinstance(text, str):
            what, at = entry.get("what"), entry.get("step")
            found.append(Announcement(step - 1, at if type(at) is int else step, _known(what), text))
    return found


def _known(what: Any) -> str:
    return what if what in _WHATS else "other"


def _whole(step: object) -> int:
    try:
        return operator.index(step)  # type: ignore[arg-type]  # whether it is one is the question
    except TypeError:
        return 0
