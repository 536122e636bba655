"""What TensorBoard loads: routes, and where the page is."""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib.util
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from .logdir import find_runs, roots_of

if TYPE_CHECKING:
    from .library import Library

logger = logging.getLogger(__name__)

PLUGIN_NAME = "pretrain_monitor"
TAB_NAME = "Pretrain Monitor"

_KINDS = {"js": "text/javascript", "css": "text/css"}
_A_DAY_S = 86_400
_LOOK_EVERY_S = 3.0

_ROUTES = ("/runs", "/run", "/series", "/incident", "/domains", "/compare")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class MonitorPlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """The tab; TensorBoard finds it by the entry point ``tensorboard_plugins``.

    Args:
        context: TensorBoard's own, of which the log directory is used.
    """

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        flags = getattr(context, "flags", None)
        spec = str(getattr(flags, "logdir_spec", "") or "")
        self._roots = roots_of(str(context.logdir or ""), spec)
        self._reader = _Reader(self._roots)
        self._has_runs = False
        self._looked_at = -_LOOK_EVERY_S

    def get_plugin_apps(self) -> dict[str, Application]:
        routes = {route: _application(functools.partial(_answer, route, self._reader)) for route in _ROUTES}
        files = {"/static/*": _static, "/plotly.js": _plotly}
        return {**routes, **{route: _application(self._reader.beside(respond)) for route, respond in files.items()}}

    def is_active(self) -> bool:
        """Whether there is anything to show; a cheap look, for TensorBoard asks every few seconds."""
        if not self._has_runs and time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._has_runs = bool(find_runs(self._roots))
        return self._has_runs

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(es_module_path="/static/tensorboard.js", tab_name=TAB_NAME)


class _Reader:
    """What reads the runs. It takes seconds to be imported, which TensorBoard's start does not wait for."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = roots
        self._library: Library | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self.library, name="pretrain_monitor import", daemon=True).start()

    def library(self) -> Library:
        with self._lock:
            if self._library is None:
                from .library import Library

                self._library = Library(self._roots)
            return self._library

    def beside(self, respond: Callable[[wrappers.Request], Any]) -> Callable[[wrappers.Request], Any]:
        """The same response; nothing is read meanwhile, if anything is yet."""

        def responding(request: wrappers.Request) -> Any:
            with self._library.asking() if self._library is not None else contextlib.nullcontext():
                return respond(request)

        return responding


def _application(respond: Callable[[wrappers.Request], Any]) -> Application:
    """A WSGI application, for reading only."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = wrappers.Request(environ)
        if request.method in ("GET", "HEAD"):
            response = respond(request)
        else:
            response = http_util.Respond(request, "only GET", "text/plain", code=405)
        found: Iterable[bytes] = response(environ, start_response)
        return found

    return application


def _answer(route: str, reader: _Reader, request: wrappers.Request) -> Any:
    from . import answers

    library = reader.library()
    try:
        with library.asking():
            found = answers.ROUTES[route](library, request.args)
    except answers.BadRequestError as error:
        return http_util.Respond(request, {"error": str(error)}, "application/json", code=400)
    except Exception:
        logger.exception("%s failed", request.path)
        problem = {"error": "the server failed on this request; its log says where"}
        return http_util.Respond(request, problem, "application/json", code=500)
    return http_util.Respond(request, json.dumps(found, allow_nan=False), "application/json")


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
