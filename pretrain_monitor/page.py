"""The frame of every page that the package writes: one file that needs nothing else and opens offline."""

from __future__ import annotations

from html import escape
from typing import Any

PAPER, INK, GRID = "#ffffff", "#24292f", "#e5e8ec"

# Of plotly's figures.
FIGURE_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1200px; padding: 0 1rem;
  color: {ink}; background: {paper}; }}
h1 {{ font-size: 1.3rem; margin: 0 0 .3rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }}
dt {{ font-weight: 600; max-width: 16rem; overflow-wrap: anywhere; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
p {{ overflow-wrap: anywhere; }}
{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(title: str, body: str, style: str = "") -> str:
    """A whole page.

    Args:
        title: as text.
        body: as HTML, with everything that comes from a user escaped.
        style: more rules, after those that all pages share.
    """
    return _PAGE.format(title=escape(title), body=body, style=style, ink=INK, paper=PAPER)
