"""Results as one page: tables first, then a curve for each domain and the tasks beside chance."""

from __future__ import annotations

from html import escape
from pathlib import Path

from ...page import FIGURE_CONFIG, page
from ...printable import clean
from ..results import ModelResult, Results
from . import wording
from .curves import task_curves, text_curves
from .figures import course_figure, task_figure
from .sheets import Sheet, task_sheet, text_sheet
from .tokenizing import tokenizer_sheet

_STYLE = """h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .9rem .2rem 0; text-align: right; border-bottom: 1px solid #e5e8ec; vertical-align: top; }
th { white-space: nowrap; }
td:first-child, th:first-child { text-align: left; overflow-wrap: anywhere; }
tr.marked td { background: #fff3d6; }
.words th, .words td { text-align: left; }
li { overflow-wrap: anywhere; }
.failed { color: #c1121f; }
"""


_BANDS = (
    "Bands are 95 % intervals over documents or questions. All models were given the same ones, so they differ more "
    "clearly than the bands suggest. The best model is in yellow, chance is dashed."
)


def write_page(results: Results, reference: ModelResult | None, path: Path) -> None:
    path.write_text(page_of(results, reference), encoding="utf-8")


def page_of(results: Results, reference: ModelResult | None) -> str:
    """The page. Everything that comes from files and people is escaped."""
    measured = results.measured
    title = f"Probes of {measured[0].name}" if len(measured) == 1 else f"Probes of {len(measured)} models"
    parts = [f"<p>{_text(_circumstances(results))}</p>"]
    for heading, sheet in (
        ("Held-out text", text_sheet(results, reference)),
        ("Tasks", task_sheet(results, reference)),
        ("Tokenizer", tokenizer_sheet(results)),
    ):
        if sheet is not None:
            parts += [f"<h2>{heading}</h2>", _table(sheet)]
    parts += _figures(results, reference)
    parts += ["<h2>Models</h2>", _table(_models(results), "wide words"), *_problems(results)]
    notes = wording.notes(results, reference)
    if notes:
        parts += ["<h2>Notes</h2>", "<ul>", *(f"<li>{_text(note)}</li>" for note in notes), "</ul>"]
    versions = ", ".join(f"{package} {version}" for package, version in results.versions.items())
    parts += ["<h2>Versions</h2>", f"<p>{_text(versions)}</p>"]
    return page(clean(title), "\n".join(parts), _STYLE)


def _figures(results: Results, reference: ModelResult | None) -> list[str]:
    parts: list[str] = []
    texts, tasks = text_curves(results, reference), task_curves(results)
    for heading, figure in (
        ("Learning curves", course_figure(results, texts) if len(results.measured) > 1 and texts else None),
        ("Accuracy", task_figure(results, tasks) if tasks else None),
    ):
        if figure is not None:
            # Plotly's script is 5 MB: once.
            has_script = any("<script" in part for part in parts)
            parts += [
                f"<h2>{heading}</h2>",
                *([f"<p>{_BANDS}</p>"] if len(results.measured) > 1 else []),
                figure.to_html(full_html=False, include_plotlyjs=not has_script, config=FIGURE_CONFIG),
            ]
    return parts


def _circumstances(results: Results) -> str:
    return f"{results.probe_file}; on {results.device}; {results.made}"


def _models(results: Results) -> Sheet:
    rows = []
    for number, model in enumerate(results.models, 1):
        if model not in results.measured:
            continue
        costs = "; ".join(f"{probe.name} {wording.cost_words(probe)}" for probe in model.probes if probe.metrics)
        rows.append([str(number), model.path, wording.model_words(model), costs])
    return Sheet(["", "model", "what it is", "what the probes took"], rows)


def _problems(results: Results) -> list[str]:
    lines = [f"{model.name}: {problem}" for model in results.models for problem in model.problems]
    return [f'<p class="failed">{_text(line)}</p>' for line in lines]


def _table(sheet: Sheet, kind: str = "wide") -> str:
    head = "".join(f"<th>{_text(title)}</th>" for title in sheet.titles)
    rows = []
    for number, row in enumerate(sheet.rows):
        mark = ' class="marked"' if number in sheet.marked else ""
        rows.append(f"<tr{mark}>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>")
    return (
        f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _text(text: str) -> str:
    return escape(clean(text))
