"""``pretrain-monitor audit``: audit a run, print the report and write it to files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config import ConfigError
from ..output_files import OutputError, check_output
from ..printable import shown_path
from ..run_settings import CONFIG_NAME
from ..rundir import FILE_NAME
from ..screen import Screen
from .criteria import load_criteria
from .model import Audit
from .run import audit_run

_READ = "read by this command"


@dataclass(frozen=True, slots=True)
class AuditWish:
    """What was asked for; names are those of the options."""

    path: Path
    model: Path | None = None
    against: Path | None = None
    criteria: str | None = None
    probes: str | None = None
    pattern: str | None = None
    html: Path | None = None
    markdown: Path | None = None
    json: Path | None = None


def audit_and_report(wish: AuditWish) -> int:
    """Print the report, and write what was asked for.

    Returns:
        exit code: 0 if the model is ready, with or without conditions; 1 if it is not, or if that cannot be told.

    Raises:
        LogError, ProbeError, ConfigError: the run, a model or the criteria cannot be read.
        OutputError: a file that cannot be written.
    """
    # What was given wrong is said before a long log is read.
    if wish.probes is not None and wish.model is None:
        raise ConfigError(f"--probes {wish.probes}: these are measured of a model; give it as --model")
    criteria = load_criteria(wish.criteria)
    writers = _writers(wish)
    audit = audit_run(
        wish.path,
        model=wish.model,
        against=wish.against,
        criteria=criteria,
        probes=wish.probes,
        pattern=wish.pattern,
    )
    from ..report.terminal import print_audit

    # First, for whoever reads the terminal may stop at the first page.
    for path, text_of in writers:
        try:
            path.write_text(text_of(audit), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{shown_path(path)}: cannot be written: {error.strerror or error}") from None
    print_audit(audit, Screen())
    for path, _ in writers:
        print(f"written: {shown_path(path)}")
    return 0 if audit.is_passed else 1


def _writers(wish: AuditWish) -> list[tuple[Path, Callable[[Audit], str]]]:
    given = [path for path in (wish.path, wish.against, wish.model) if path is not None]
    given += [Path(name) for name in (wish.criteria, wish.probes) if name is not None]
    # Of a directory anything may be read that is there already; of a log in which one of several runs is meant the log.
    read = [file for path in given for file in (path, Path(str(path).rpartition("#")[0] or path), *_inside(path, wish))]
    found: list[tuple[Path, Callable[[Audit], str]]] = []
    if wish.html is not None:
        check_output("--html", wish.html, (".html", ".htm"), read, _READ)
        found.append((wish.html, _html()))
    if wish.markdown is not None:
        from ..report.markdown import markdown_of

        check_output("--markdown", wish.markdown, (".md", ".markdown"), read, _READ)
        found.append((wish.markdown, markdown_of))
    if wish.json is not None:
        from ..report.json_file import json_of

        check_output("--json", wish.json, (".json",), read, _READ)
        found.append((wish.json, json_of))
    return found


def _inside(path: Path, wish: AuditWish) -> list[Path]:
    """Files that were asked for, and that are in a directory that is read."""
    outputs = [file for file in (wish.html, wish.markdown, wish.json) if file is not None and file.exists()]
    beside = [path / CONFIG_NAME, path.parent / CONFIG_NAME, path / FILE_NAME]
    return beside + [file for file in outputs if path.is_dir() and file.resolve().is_relative_to(path.resolve())]


def _html() -> Callable[[Audit], str]:
    from ..report.html import html_of, page_template

    page_template()  # a package that is missing is said now
    return html_of
