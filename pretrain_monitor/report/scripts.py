"""Scripts of the page, packed into it: those of the TensorBoard tab's charts, and plotly's."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import re
from importlib import resources
from typing import Any

_SHARED = ("chart.js", "dom.js", "format.js", "looks.js", "sketch.js")
_IMPORT = re.compile(r'from "\./')
_DARK = re.compile(r":root\.dark (\{[^}]*\})")


def import_map() -> str:
    """Shared scripts by name, each in an address of its own: a page that is one file has no others to ask for."""
    files = resources.files("pretrain_monitor.web")
    imports = {}
    for name in _SHARED:
        code = _named((files / name).read_text(encoding="utf-8"))
        imports[f"web/{name}"] = f"data:text/javascript;base64,{base64.b64encode(code.encode()).decode()}"
    return json.dumps({"imports": imports})


def own_script() -> str:
    """Of the report; it stands in the page as it is."""
    return _named((resources.files(__package__) / "page" / "report.js").read_text(encoding="utf-8"))


def style() -> str:
    """The rules that pages share, dark by the reader's wish even without a script, and those of the report."""
    shared = (resources.files("pretrain_monitor.web") / "style.css").read_text(encoding="utf-8")
    own = (resources.files(__package__) / "page" / "report.css").read_text(encoding="utf-8")
    (dark,) = _DARK.findall(shared)
    return f"{shared}\n@media screen and (prefers-color-scheme: dark) {{ :root {dark} }}\n{own}"


@functools.lru_cache(maxsize=1)
def packed_plotly() -> str:
    """Plotly's script, zipped: 2 MB of text instead of 5."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=6, mtime=0)).decode()


def data_text(data: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _named(code: str) -> str:
    return _IMPORT.sub('from "web/', code)
