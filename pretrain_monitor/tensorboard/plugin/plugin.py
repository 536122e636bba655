"""What TensorBoard loads: routes, and where the page is."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any

from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from . import answers
from .library import Library
from .logdir import roots_of

logger = logging.getLogger(__name__)

PLUGIN_NAME = "pretrain_monitor"
TAB_NAME = "Pretrain Monitor"

_KINDS = {"js": "text/javascript", "css": "text/css"}
_A_DAY_S = 86_400

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Answer = Callable[[Library, Mapping[str, str]], dict[str, Any]]

_ANSWERS: dict[str, Answer] = {
    "/runs": lambda library, query: answers.all_runs(library),
    "/run": lambda library, query: answers.one_run(library, query.get("run", ""), query.get("known", "")),
    "/series": lambda library, query: answers.series(library, query.get("run", ""), query),
    "/incident": lambda library, query: answers.one_incident(library, query.get("run", ""), query.get("id", "")),
    "/domains": lambda library, query: answers.domains(library, query.get("run", ""), query.get("known", "")),
    "/compare": lambda library, query: answers.compare(
        library, [name for name in query.get("runs", "").split("\n") if name]
    ),
}


class MonitorPlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """The tab; TensorBoard finds it by the entry point ``tensorboard_plugins``.

    Args:
        context: TensorBoard's own, of which the log directory is used.
    """

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        flags = getattr(context, "flags", None)
        spec = str(getattr(flags, "logdir_spec", "") or "")
        self._library = Library(roots_of(str(context.logdir or ""), spec))

    def get_plugin_apps(self) -> dict[str, Application]:
        routes = {route: _json_application(answer, self._library) for route, answer in _ANSWERS.items()}
        files = {"/static/*": _application(_static, self._library), "/plotly.js": _application(_plotly, self._library)}
        return {**files, **routes}

    def is_active(self) -> bool:
        return self._library.has_runs()

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(es_module_path="/static/tensorboard.js", tab_name=TAB_NAME)


def _application(respond: Callable[[wrappers.Request], Any], library: Library) -> Application:
    """A WSGI application, for reading only."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = wrappers.Request(environ)
        if request.method in ("GET", "HEAD"):
            with library.asking():
                response = respond(request)
        else:
            response = http_util.Respond(request, "only GET", "text/plain", code=405)
        found: Iterable[bytes] = response(environ, start_response)
        return found

    return application


def _json_application(answer: Answer, library: Library) -> Application:
    def respond(request: wrappers.Request) -> Any:
        try:
            found = answer(library, request.args)
        except answers.BadRequestError as error:
            return http_util.Respond(request, {"error": str(error)}, "application/json", code=400)
        except Exception:
            logger.exception("%s failed", request.path)
            problem = {"error": "the server failed on this request; its log says where"}
            return http_util.Respond(request, problem, "application/json", code=500)
        return http_util.Respond(request, json.dumps(found, allow_nan=False), "application/json")

    return _application(respond, library)


def _static(request: wrappers.Request) -> Any:
    name = request.path.rpartition("/static/")[2]
    content = _static_files().get(name)
    if content is None:
        return http_util.Respond(request, "no such file", "text/plain", code=404)
    return http_util.Respond(request, content, _KINDS[name.rpartition(".")[2]])


def _plotly(request: wrappers.Request) -> Any:
    script = _plotly_gzipped()
    if script is None:
        hint = "plotly is not installed: pip install 'pretrain-monitor[tensorboard]'"
        return http_util.Respond(request, hint, "text/plain", code=404)
    # Only what may be kept is compiled once by a browser, and this is 4.8 MB.
    return http_util.Respond(request, script, "text/javascript", content_encoding="gzip", expires=_A_DAY_S)


@functools.lru_cache(maxsize=1)
def _static_files() -> dict[str, bytes]:
    """Scripts and styles by name, those that pages share and those of this tab: nothing else is served from disk."""
    folders = (resources.files("pretrain_monitor.web"), resources.files(__package__) / "page")
    entries = [entry for folder in folders for entry in folder.iterdir() if entry.name.endswith((".js", ".css"))]
    return {entry.name: entry.read_bytes() for entry in entries}


@functools.lru_cache(maxsize=1)
def _plotly_gzipped() -> bytes | None:
    if importlib.util.find_spec("plotly") is None:
        return None
    from plotly.offline import get_plotlyjs

    return gzip.compress(get_plotlyjs().encode(), compresslevel=6, mtime=0)
