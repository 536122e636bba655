"""Probes as a file of settings says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..config import ConfigError, first_problem, read_yaml
from .base import Probe, ProbeError
from .checked_probes import check_tasks
from .given_paths import limited, rooted, rooted_domain
from .presets import probe_file_path
from .probe_settings import Entry, Settings


@dataclass(frozen=True, slots=True)
class ProbeFile:
    """Probes that are described and not built yet: for that they need a tokenizer.

    Args:
        where: they are described, for messages.
        folder: that paths in it are relative to; None: where the program runs.
    """

    where: str
    folder: Path | None
    settings: Settings

    @property
    def tokenizer(self) -> str | None:
        """Path of the tokenizer for all probes that name none of their own."""
        given = self.settings.tokenizer
        return None if given is None else rooted(given, self.folder)

    @property
    def needs_model(self) -> bool:
        """Whether any probe looks at the model, and not only at its tokenizer."""
        return any(entry.kind != "tokenization" for entry in self.settings.probes)

    @property
    def kinds(self) -> dict[str, str]:
        """What each probe is, perplexity, choice, facts or tokenization, by name."""
        return {getattr(entry, entry.kind).name: entry.kind for entry in self.settings.probes}

    def build(self, tokenizer: Any = None, *, limit: int | None = None) -> list[Probe]:
        """The probes, with their texts read.

        Args:
            tokenizer: for probes that name none of their own; None: the one that the file names.
            limit: documents of each domain and questions of each task, where the file allows more.

        Raises:
            ProbeError: a text, a task or a tokenizer cannot be read.
        """
        shared = tokenizer if tokenizer is not None else self.tokenizer
        probes = [self._probe(number, entry, shared, limit) for number, entry in enumerate(self.settings.probes)]
        try:
            check_tasks(probes)
        except ProbeError as problem:
            raise ProbeError(f"{self.where}: {problem}") from None
        return probes

    def _probe(self, number: int, entry: Entry, tokenizer: Any, limit: int | None) -> Probe:
        place = f"{self.where}: probes.{number}.{entry.kind}"
        keywords = getattr(entry, entry.kind).model_dump(exclude_unset=True)
        for name in ("tokenizer", "reference", "facts"):
            if keywords.get(name) is not None:
                keywords[name] = rooted(keywords[name], self.folder)
        keywords["tokenizer"] = keywords.get("tokenizer") or tokenizer
        if entry.kind in ("choice", "facts") and keywords["tokenizer"] is None:
            raise ProbeError(f"{place} needs the model's tokenizer: name its path as tokenizer:")
        try:
            probe = _MAKERS[entry.kind](keywords, self.folder, limit)
        except ProbeError as problem:
            raise ProbeError(f"{place}: {problem}") from None
        if entry.every_steps is None:
            return probe
        from .schedule import Scheduled

        return Scheduled(probe, every_steps=entry.every_steps)


def read_probe_file(source: str | Path | Mapping[str, Any]) -> ProbeFile:
    """A probe file, checked as far as it can be without reading texts.

    Raises:
        ProbeError: with one line that names the file and the key.
    """
    where, folder = "probes", None
    given: Any = source
    if not isinstance(source, Mapping):
        path = probe_file_path(source)
        where, folder = str(path), path.parent
        try:
            given = read_yaml(path, "probe file")
        except ConfigError as problem:
            raise ProbeError(str(problem)) from None
    if not isinstance(given, Mapping):
        raise ProbeError(f"{where}: expected the key probes: with a list, got {type(given).__name__}")
    try:
        return ProbeFile(where, folder, Settings.model_validate(dict(given)))
    except ValidationError as problem:
        raise ProbeError(f"{where}: {first_problem(problem, Settings)}") from None


def load_probes(source: str | Path | Mapping[str, Any], *, tokenizer: Any = None) -> list[Probe]:
    """The probes that a YAML file describes, or a mapping of the same form.

    >>> load_probes({"probes": [{"tokenization": {"domains": {"greeting": ["Hello"]}}}]}, tokenizer=list)[0].name
    'tokenization'

    Args:
        source: path of the file, or name of a preset: quick, domains, tasks or tokenization. Paths in a file are
            relative to it.
        tokenizer: for all probes that name none of their own; goes before the one that the file names.

    Raises:
        ProbeError: with one line that names the file and the key.
    """
    return read_probe_file(source).build(tokenizer)


def _choice(keywords: dict[str, Any], folder: Path | None, limit: int | None) -> Probe:
    from .choice import ChoiceProbe

    suites = keywords["suites"]
    if isinstance(suites, dict):
        keywords["suites"] = {
            name: rooted(one, folder) if isinstance(one, str) and not one.startswith("olmo:") else one
            for name, one in suites.items()
        }
    if limit is not None:
        keywords["limit"] = min(limit, keywords.get("limit") or limit)
    return ChoiceProbe(**keywords)


def _facts(keywords: dict[str, Any], folder: Path | None, limit: int | None) -> Probe:
    from .fact_probe import FactProbe

    return FactProbe(**keywords)


def _perplexity(keywords: dict[str, Any], folder: Path | None, limit: int | None) -> Probe:
    from .perplexity import PerplexityProbe

    keywords["domains"] = _found(keywords["domains"], folder, limit)
    return PerplexityProbe(**keywords)


def _tokenization(keywords: dict[str, Any], folder: Path | None, limit: int | None) -> Probe:
    from .tokenization import TokenizationProbe

    if keywords.get("domains"):
        keywords["domains"] = _found(keywords["domains"], folder, limit)
    if keywords.get("parallel"):
        keywords["parallel"] = {name: _found(one, folder, limit) for name, one in keywords["parallel"].items()}
    if keywords.get("against"):
        keywords["against"] = {name: rooted(path, folder) for name, path in keywords["against"].items()}
    return TokenizationProbe(**keywords)


_MAKERS = {"choice": _choice, "facts": _facts, "perplexity": _perplexity, "tokenization": _tokenization}


def _found(domains: Mapping[str, Any], folder: Path | None, limit: int | None) -> dict[str, Any]:
    return {name: limited(rooted_domain(given, folder), limit) for name, given in domains.items()}
