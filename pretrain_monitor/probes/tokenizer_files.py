"""Tokenizers out of the files that they come in. Nothing is downloaded."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .base import ProbeError
from .optional import imported, one_line
from .tokenizers import Tokenizer, as_tokenizer

_KNOWN = "tokenizer.json, a model directory, .gguf, .model (sentencepiece) or .tiktoken"

# How text is cut before bytes are merged, by the name of the rank file, which does not say it. In order: English
# endings after an apostrophe, letters with one sign before them, up to three digits, signs with a space before them
# and line ends after, white space up to its last line end, white space but for the last before a word, what is left.
_CUTS = {
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
        {"<|endoftext|>": 100257},
    ),
}


def load_tokenizer(path: Any) -> Tokenizer:
    """A tokenizer from disk, named after its file or directory.

    Args:
        path: of a ``tokenizer.json``, read with tokenizers; of a model directory or a ``.gguf`` file, read with
            transformers (and gguf, which takes some 20 seconds); of a sentencepiece ``.model``; or of
            ``cl100k_base.tiktoken``.

    Raises:
        ProbeError: there is no such file, it is none of these, or the package that reads it is not installed.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise ProbeError(f"tokenizer {str(path)!r} does not exist; give the path of {_KNOWN}")
    read: Callable[[Path], Any]
    if file.is_dir():
        read = _directory
    elif file.suffix in _READERS:
        read = _READERS[file.suffix]
    else:
        raise ProbeError(f"tokenizer {str(path)!r}: its ending is not known; give the path of {_KNOWN}")
    try:
        tokenizer = as_tokenizer(read(file))
    except ProbeError:
        raise
    except Exception as problem:  # each library raises what it likes: plain Exception, OSError, RuntimeError, KeyError
        raise ProbeError(f"tokenizer {str(path)!r} cannot be read: {one_line(problem)}") from None
    # Any other file called tokenizer.json is called so too; the directory is what tells them apart.
    tokenizer.name = file.resolve().parent.name if file.stem == "tokenizer" else file.name
    return tokenizer


def _json(file: Path) -> Any:
    library = imported("tokenizers", f"reading {file.name}")
    content = json.loads(file.read_bytes())
    # A vocab.json is an object of tokens, and "model" is one of them.
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ProbeError(
            f"tokenizer {str(file)!r} is no tokenizer.json, which has a model; "
            "for vocab.json with merges.txt give their directory"
        )
    return library.Tokenizer.from_file(str(file))


def _directory(file: Path) -> Any:
    if not any(any(file.glob(pattern)) for pattern in ("tokenizer*", "vocab*", "*.model")):
        raise ProbeError(f"directory {str(file)!r} holds no tokenizer; give one with {_KNOWN.partition(',')[0]} in it")
    transformers = imported("transformers", f"reading the tokenizer in {file}")
    return transformers.AutoTokenizer.from_pretrained(str(file), local_files_only=True, trust_remote_code=False)


def _gguf(file: Path) -> Any:
    transformers = imported("transformers", f"reading {file.name}")
    imported("gguf", f"reading {file.name}")
    return transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True)


def _sentencepiece(file: Path) -> Any:
    return imported("sentencepiece", f"reading {file.name}").SentencePieceProcessor(model_file=str(file))


def _tiktoken(file: Path) -> Any:
    if file.stem not in _CUTS:
        raise ProbeError(
            f"tokenizer {str(file)!r}: a .tiktoken file does not say how text is cut before merging, which is known "
            f"here for {', '.join(_CUTS)} only; give a tiktoken.Encoding made with its pat_str"
        )
    library = imported("tiktoken", f"reading {file.name}")
    cut, special = _CUTS[file.stem]
    ranks = {b64decode(piece): int(rank) for piece, rank in (line.split() for line in file.read_bytes().splitlines())}
    return library.Encoding(file.stem, pat_str=cut, mergeable_ranks=ranks, special_tokens=special)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _json,
    ".gguf": _gguf,
    ".model": _sentencepiece,
    ".tiktoken": _tiktoken,
}
