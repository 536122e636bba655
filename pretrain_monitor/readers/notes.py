"""What a reader found out about a log beside its samples."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)


@dataclass
class ReadNotes:
    """Filled while a log is read; what is said is also a warning in the log of the program.

    Args:
        source: kind of log in words, such as "CSV table".
        sentences: what a person should know of the log.
        resumed_after: steps after which a later process went on.
    """

    source: str = "log"
    sentences: list[str] = field(default_factory=list)
    resumed_after: list[int] = field(default_factory=list)

    def say_cut_off(self, log: str) -> None:
        """That the last line of a log breaks off: it is being written, or whoever wrote it was killed."""
        self.say(log, "its last line breaks off and is left out")

    def say(self, log: str, sentence: str, *, is_warning: bool = True) -> None:
        """
        Args:
            is_warning: False: whoever reads the log knows it already.
        """
        self.sentences.append(sentence)
        if is_warning:
            logger.warning("%s: %s", log, sentence)
