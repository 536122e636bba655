"""The texts of a domain, from whatever a user has: strings, files, or what is installed on every machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from .base import ProbeError, checked_name
from .text_files import KNOWN_ENDINGS, SPLITS, Text, read_file
from .text_sources import find_files, find_in_package, find_in_stdlib, texts_of_module

__all__ = ["Text", "load_domain", "load_parallel"]

_SOURCES = ("texts", "files", "stdlib", "module")
_OPTIONS = {
    "texts": ("limit",),
    "files": ("package", "field", "split", "limit"),
    "stdlib": ("split", "limit"),
    "module": ("name", "limit"),
}


def load_domain(name: str, given: Any) -> list[Text]:
    """Documents of one domain, always in the same order, without those that are empty or white space only.

    Strings in a list are texts, and a string alone is a path: a list counts as paths only if each of its strings is
    one line that ends as a file does (``.txt``, ``.jsonl``, ``.jsonl.gz``, ``.parquet``).

    >>> load_domain("greetings", ["Hello", "  ", "Good morning"])
    [Text(id='0', text='Hello'), Text(id='2', text='Good morning')]

    Args:
        name: of the domain, for messages and metrics.
        given: a list of texts; a path, pattern or folder, or a list of these; or a mapping with one source,

            - ``texts``: a list of texts,
            - ``files``: paths, patterns or folders, inside an installed ``package`` if one is named,
            - ``stdlib``: a pattern over the files of Python's own library, such as ``*.py``,
            - ``module``: which holds texts under ``name``, as ``pydoc_data.topics`` does under ``topics``,

            and options: ``limit``, the first so many documents (shuffle a file that is sorted by subject, once and for
            all: two rounds are compared on the same documents); ``field`` with the text, of a JSON line or Parquet
            row; ``split``, for plain text: ``blank_lines`` or ``lines`` end a document, otherwise the file does.

    Raises:
        ProbeError: there is no text, or a file cannot be read as what it claims to be.
    """
    what = f"domain {checked_name(name, 'domain')!r}"
    try:
        documents, limit = _opened(given)
        texts = list(islice((one for one in documents if one.text.strip()), limit))
        _check_spelling(texts)
    except ProbeError as problem:
        raise ProbeError(f"{what}: {problem}") from None
    if not texts:
        raise ProbeError(f"{what} is empty: it has no text other than white space; give at least one document")
    return texts


def load_parallel(name: str, given: Mapping[str, Any]) -> dict[str, list[Text]]:
    """The same texts in several languages, aligned: the n-th of one says what the n-th of every other says.

    A document that is empty in one language is left out in all.

    Args:
        name: of the set.
        given: by language, each as for ``load_domain``; ``limit`` counts empty documents here.

    Raises:
        ProbeError: there are fewer than two languages, or they have different numbers of documents.
    """
    what = f"parallel texts {checked_name(name, 'parallel texts')!r}"
    if not isinstance(given, Mapping) or len(given) < 2:
        raise ProbeError(f"{what}: give a mapping of two languages or more, the one to compare with first")
    read: dict[str, list[Text]] = {}
    for language, source in given.items():
        checked_name(language, f"{what}: language")
        try:
            documents, limit = _opened(source)
            read[language] = list(islice(documents, limit))
            _check_spelling(read[language])
        except ProbeError as problem:
            raise ProbeError(f"{what}, {language!r}: {problem}") from None
    counts = {language: len(texts) for language, texts in read.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{language} {count}" for language, count in counts.items())
        raise ProbeError(f"{what}: each language needs the same documents in the same order; they have {listed}")
    kept = [i for i, same in enumerate(zip(*read.values(), strict=True)) if all(one.text.strip() for one in same)]
    if not kept:
        raise ProbeError(f"{what}: no document has text in every language")
    return {language: [texts[i] for i in kept] for language, texts in read.items()}


def _opened(given: Any) -> tuple[Iterator[Text], int | None]:
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        return _from_files(_files_of_one(given), None, None), None
    if isinstance(given, Mapping):
        return _from_settings(given)
    if isinstance(given, set | frozenset):
        raise ProbeError("a set is in another order each time the program runs; give a list of texts")
    if isinstance(given, Iterable) and not isinstance(given, bytes):
        items = list(given)
        if items and all(_is_path(item) for item in items):
            return _from_files(find_files(items), None, None), None
        return _from_items(items), None
    raise ProbeError(f"{type(given).__name__} given; give a list of texts, a path, a pattern or a mapping")


def _from_settings(given: Mapping[str, Any]) -> tuple[Iterator[Text], int | None]:
    sources = [key for key in _SOURCES if key in given]
    if len(sources) != 1:
        have = ", ".join(map(str, given)) or "nothing"
        raise ProbeError(f"a mapping names one source out of {', '.join(_SOURCES)}; this one has {have}")
    source = sources[0]
    allowed = (source, *_OPTIONS[source])
    for key in given:
        if key not in allowed:
            close = get_close_matches(str(key), allowed, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed beside it: {', '.join(_OPTIONS[source])}"
            raise ProbeError(f"unknown key {key!r} beside {source!r}; {hint}")
    limit, split, field = given.get("limit"), given.get("split"), given.get("field")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ProbeError(f"limit={limit!r}: give a whole number of documents, at least 1, or leave it out")
    if split is not None and split not in SPLITS:
        raise ProbeError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}, or leave it out")
    if field is not None and (not isinstance(field, str) or not field):
        raise ProbeError(f"field={field!r}: give the name of the field that holds the text")
    value = given[source]
    if source == "texts":
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise ProbeError(f"texts: {type(value).__name__} given; give a list of texts")
        return _from_items(list(value)), limit
    if source == "module":
        return texts_of_module(str(value), given.get("name")), limit
    if source == "stdlib":
        files = find_in_stdlib(value)
    elif "package" in given:
        files = find_in_package(str(given["package"]), value)
    else:
        files = find_files(value)
    return _from_files(files, field, split), limit


def _files_of_one(given: Any) -> list[tuple[Path, str]]:
    if isinstance(given, str) and ("\n" in given or len(given) > 1000):
        raise ProbeError(f"the string {given[:40]!r}... is taken for a path; put texts into a list")
    return find_files(given)


def _from_files(files: list[tuple[Path, str]], field: str | None, split: str | None) -> Iterator[Text]:
    return (text for path, name in files for text in read_file(path, name, field, split))


def _from_items(items: list[Any]) -> Iterator[Text]:
    for number, item in enumerate(items):
        if isinstance(item, Text):
            yield item
        elif isinstance(item, str):
            yield Text(str(number), item)
        else:
            raise ProbeError(f"item {number} of the list is {type(item).__name__}; give texts, or paths only")


def _is_path(item: Any) -> bool:
    if isinstance(item, str):
        return "\n" not in item and item.lower().endswith(KNOWN_ENDINGS)
    return hasattr(item, "__fspath__")


def _check_spelling(texts: list[Text]) -> None:
    for one in texts:
        try:
            one.text.encode()
        except UnicodeEncodeError as problem:
            raise ProbeError(
                f"document {one.id!r} has half of a surrogate pair at character {problem.start:,}, which has no bytes "
                "in UTF-8: it was cut or decoded wrongly before; repair or leave out this document"
            ) from None
