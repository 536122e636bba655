"""An audit as one page that needs nothing else: first screen, charts, findings, incidents, appendix."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..audit.model import Audit, Verdict
from ..printable import clean
from ..sinks.wording import words as spaced
from . import scripts, words
from .charts import as_json, charts_of, extent, missing_curves, spans_of
from .errors import ReportError
from .shown import COUNTED, areas_of, facts_of, incident_rows, picture_of, reason_of
from .states import SIGNS, counts

if TYPE_CHECKING:
    from jinja2 import Template

_TONES = {
    Verdict.READY: "good",
    Verdict.CONDITIONS: "warning",
    Verdict.NOT_READY: "critical",
    Verdict.NOT_ENOUGH: "warning",
}
# Those of the TensorBoard tab.
_SEVERITY_SIGNS = {"info": "●", "warning": "▲", "critical": "◆"}
# More would not fit on the first screen.
_MOST_REASONS, _MOST_STEPS = 5, 3


def html_of(audit: Audit) -> str:
    """The page.

    Raises:
        ReportError: a package that it is made with is missing.
    """
    template = page_template()
    incidents = words.incidents_of(audit)
    steps = extent(audit)
    spans = spans_of(incidents, steps[1])
    charts = charts_of(audit)
    pictures = [picture_of(place, chart, spans, steps) for place, chart in enumerate(charts)]
    areas = areas_of(audit)
    rows = incident_rows(incidents, spans)
    anchors = {one.finding.check: one.anchor for area in areas for one in area.findings}
    return template.render(
        audit=audit,
        heading=words.heading(audit),
        tone=_TONES[audit.verdict],
        verdict_sign=words.VERDICT_SIGNS[audit.verdict],
        count_words=words.count_words(counts(audit.findings)),
        sections=_sections(
            has_charts=bool(pictures), has_steps=bool(audit.next_steps), has_findings=bool(audit.findings)
        ),
        reasons=[reason_of(text, audit.findings, anchors) for text in audit.reasons],
        most_reasons=_MOST_REASONS,
        most_steps=_MOST_STEPS,
        facts=facts_of(audit, incidents),
        runs=[run for run in (audit.run, audit.against) if run is not None],
        counted=COUNTED,
        areas=areas,
        overview=next((one for one in pictures if one.chart.group == "loss"), None),
        charts=pictures,
        missing_curves=missing_curves(audit, charts),
        incidents=incidents,
        incident_words=words.incident_words(incidents),
        alerts=[row for row in rows if row.incident.is_alert],
        infos=[row for row in rows if not row.incident.is_alert],
        chart_data=_raw(scripts.data_text(as_json(charts, spans, steps))),
        plotly=_raw(scripts.packed_plotly() if pictures else ""),
        import_map=_raw(scripts.import_map()),
        script=_raw(scripts.own_script()),
        style=_raw(scripts.style()),
    )


@lru_cache(maxsize=1)
def page_template() -> Template:
    """Of the page; a command asks for it before hours of work that would end in a missing package.

    Raises:
        ReportError: a package that it is made with is missing.
    """
    try:
        import plotly.offline  # noqa: F401
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("plotly", "jinja2"):
            raise
        raise ReportError(f"the HTML report needs {package}: pip install 'pretrain-monitor[report]'") from None
    environment = Environment(
        loader=PackageLoader("pretrain_monitor.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        signs=SIGNS,
        state_words=words.STATE_WORDS,
        severity_signs=_SEVERITY_SIGNS,
        place_words=words.place_words,
        name_of=words.signal_name,
        spaced=spaced,
    )
    return environment.get_template("report.html")


def _sections(*, has_charts: bool, has_steps: bool, has_findings: bool) -> list[tuple[str, str]]:
    """Anchors and titles; those of areas are in the table of areas."""
    found = [("verdict", "Verdict")]
    found += [("next", "What to do next")] if has_steps else []
    found += [("charts", "Charts")] if has_charts else []
    found += [("findings", "Findings")] if has_findings else []
    return [*found, ("incidents", "Incidents"), ("appendix", "Appendix")]


def _raw(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _shown(value: Any) -> Any:
    """What a template prints: texts of the run without control characters; own markup as it is."""
    return clean(value) if type(value) is str else value
