"""Where the files of a domain are: paths, patterns, folders, installed packages, Python's own library."""

from __future__ import annotations

import glob
import sysconfig
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .base import ProbeError
from .optional import one_line
from .text_files import KNOWN_ENDINGS, Text

# Other packages and the library's tests lie in the same folder; some tests are in strange encodings on purpose.
_NOT_THE_LIBRARY = frozenset({"__pycache__", "dist-packages", "idle_test", "site-packages", "test", "tests"})


def find_files(given: Any, root: Path | None = None) -> list[tuple[Path, str]]:
    """Files and short names for them, in the order given and within a pattern or folder by name.

    Args:
        given: a path, a pattern such as ``data/**/*.txt``, a folder, or a list of these.
        root: folder that they are relative to; None: where the program runs.

    Raises:
        ProbeError: one of them leads to no file.
    """
    patterns = given if isinstance(given, list | tuple) else [given]
    found: dict[Path, str] = {}
    for pattern in patterns:
        if not isinstance(pattern, str) and not hasattr(pattern, "__fspath__"):
            raise ProbeError(f"files: {pattern!r} is {type(pattern).__name__}; give paths, patterns or folders")
        if not str(pattern).strip():
            raise ProbeError("files: an empty path; give a path, a pattern or a folder")
        try:
            for path, name in _expanded(Path(pattern).expanduser(), root or Path()):
                found.setdefault(path, name)
        except (OSError, RuntimeError) as problem:  # a name that is too long, the home of nobody
            raise ProbeError(f"files: {str(pattern)[:80]!r} cannot be looked for: {one_line(problem)[:120]}") from None
    return list(found.items())


def find_in_package(package: str, given: Any) -> list[tuple[Path, str]]:
    """Files inside an installed package, which is looked up and not run.

    Raises:
        ProbeError: it is not installed, or has no such files.
    """
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ProbeError(f"package {package!r} is not installed")
    if not spec.submodule_search_locations:
        raise ProbeError(f"package {package!r} is a single module and holds no files; see module= for texts in it")
    return find_files(given, Path(next(iter(spec.submodule_search_locations))))


def find_in_stdlib(given: Any) -> list[tuple[Path, str]]:
    """Files of Python's own library, without its tests and without what else is installed.

    Raises:
        ProbeError: there are none, as in an interpreter that keeps its library in a zip file.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = [
        (path, name)
        for path, name in find_files(given, root)
        if path.is_relative_to(root) and not _NOT_THE_LIBRARY.intersection(path.relative_to(root).parts)
    ]
    if not found:
        raise ProbeError(f"stdlib: {given!r} matches only tests or other packages in {root}")
    return found


def texts_of_module(module: str, attribute: str | None) -> Iterator[Text]:
    """Texts that a module holds, as a list or by name, such as ``topics`` of ``pydoc_data.topics``. Imports it.

    Raises:
        ProbeError: it does not hold such.
    """
    if not attribute:
        raise ProbeError(f"module {module!r}: say as name= which of its lists or mappings of texts is meant")
    try:
        value = getattr(import_module(module), attribute, None)
    except Exception as problem:  # whatever somebody else's module does when it is run
        raise ProbeError(f"module {module!r} cannot be imported: {one_line(problem)}") from None
    if isinstance(value, list | tuple):
        value = {str(number): text for number, text in enumerate(value)}
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise ProbeError(f"{module}.{attribute} is no list of texts and no mapping from names to texts")
    return (Text(str(name), text) for name, text in value.items())


def _expanded(pattern: Path, root: Path) -> Iterator[tuple[Path, str]]:
    path = root / pattern
    if path.is_file():
        yield path, path.name
    elif path.is_dir():
        inside = [(file, file.relative_to(path).as_posix()) for file in path.rglob("*") if file.is_file()]
        known = sorted((name, file) for file, name in inside if name.lower().endswith(KNOWN_ENDINGS))
        if not known:
            raise ProbeError(
                f"folder {path} holds none of {', '.join(KNOWN_ENDINGS)}; give a pattern such as {pattern / '**/*.md'}"
            )
        yield from ((file, name) for name, file in known)
    elif glob.has_magic(str(pattern)):
        # Path.glob takes no pattern that begins at the root, and follows no links below **.
        names = glob.glob(str(pattern), root_dir=root, recursive=True)  # noqa: PTH207
        fixed = _fixed_part(pattern)
        # By the parts of their names and not by the string: "a-b/c" sorts before "a/c" as a string.
        found = sorted((Path(name).parts, root / name) for name in names if (root / name).is_file())
        found = _without_loops(found)
        if not found:
            raise ProbeError(f"no file matches {str(path)!r}")
        yield from ((file, Path(*parts).relative_to(fixed).as_posix()) for parts, file in found)
    else:
        raise ProbeError(f"file {str(path)!r} does not exist")


def _without_loops(found: list[tuple[tuple[str, ...], Path]]) -> list[tuple[tuple[str, ...], Path]]:
    """Each file once: a link to a folder above it leads to the same ones again, forty times."""
    shortest: dict[Path, tuple[str, ...]] = {}
    for parts, path in sorted(found, key=lambda one: len(one[0])):
        shortest.setdefault(path.resolve(), parts)
    kept = set(shortest.values())
    return [(parts, path) for parts, path in found if parts in kept]


def _fixed_part(pattern: Path) -> Path:
    for parent in pattern.parents:
        if not glob.has_magic(str(parent)):
            return parent
    return Path()
