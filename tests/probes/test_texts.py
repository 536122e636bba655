"""Texts of a domain: what can be given, in which order it comes back, and what is said about what cannot be read."""

from __future__ import annotations

import gzip
import json
import sysconfig
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.texts import Text, load_domain, load_parallel


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def words(given: Any) -> list[str]:
    return [one.text for one in load_domain("d", given)]


def message(given: Any) -> str:
    with pytest.raises(ProbeError) as caught:
        load_domain("law", given)
    told = str(caught.value)
    assert told.startswith("domain 'law'")
    assert "\n" not in told
    return told


def test_a_list_of_strings_is_texts_and_blank_ones_are_left_out():
    assert load_domain("d", ["one", "", " \n\t", "two"]) == [Text("0", "one"), Text("3", "two")]


def test_any_iterable_of_texts_will_do():
    assert words(word for word in ("a", "b")) == ["a", "b"]
    assert load_domain("d", (Text("mine", "a"),)) == [Text("mine", "a")]


def test_a_file_is_one_document_as_its_bytes_say(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntw\xc3\xb6 \n")
    assert load_domain("d", tmp_path / "a.txt") == [Text("a.txt", "one\r\ntwö \n")]
    assert load_domain("d", str(tmp_path / "a.txt")) == [Text("a.txt", "one\r\ntwö \n")]


def test_a_byte_order_mark_is_no_text(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "two"}\n')
    assert words(tmp_path / "a.txt") == ["one"]
    assert words(tmp_path / "b.jsonl") == ["two"]


def test_blank_lines_or_lines_can_end_a_document(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\r\n\r\n \t\nthree\n\n\n\nfour\n")
    split = {"files": tmp_path / "a.txt", "split": "blank_lines"}
    assert load_domain("d", split) == [
        Text("a.txt:1", "one\ntwo"),
        Text("a.txt:2", "three"),
        Text("a.txt:3", "four"),
    ]
    assert words({"files": tmp_path / "a.txt", "split": "lines"}) == ["one", "two", "three", "four"]


def test_json_lines_come_with_their_ids_or_line_numbers(tmp_path: Path):
    path = lines(tmp_path / "a.jsonl", {"text": "one", "id": 7}, {"text": "two", "id": None})
    path.write_text(path.read_text() + "\n" + json.dumps({"text": "three", "id": "x"}))
    assert load_domain("d", path) == [Text("7", "one"), Text("a.jsonl:2", "two"), Text("x", "three")]


def test_gzip_and_another_field_are_read(tmp_path: Path):
    path = lines(tmp_path / "a.jsonl", {"content": "größer"})
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"plain"))
    assert words({"files": tmp_path / "a.jsonl.gz", "field": "content"}) == ["größer"]
    assert words(tmp_path / "b.txt.gz") == ["plain"]


def test_parquet_is_read_by_column(tmp_path: Path):
    table = pyarrow.table({"body": ["one", "two"], "id": [3, 4], "other": [0.5, 0.5]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    given = {"files": str(tmp_path / "a.parquet"), "field": "body"}
    assert load_domain("d", given) == [Text("3", "one"), Text("4", "two")]
    assert "has no field 'text'; it has body, id, other" in message(tmp_path / "a.parquet")


def test_a_parquet_file_with_a_missing_value_or_none_at_all_is_named(tmp_path: Path):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one", None]}), tmp_path / "a.parquet")
    assert "row 2: field 'text' holds NoneType" in message(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and nothing")
    assert "b.parquet is not Parquet, or damaged" in message(tmp_path / "b.parquet")


def test_patterns_and_folders_come_in_the_order_of_their_names(tmp_path: Path):
    for name in ("b/2.txt", "b/10.txt", "a-b/1.txt", "a/1.txt", "a/1.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    ordered = ["a/1.txt", "a-b/1.txt", "b/10.txt", "b/2.txt"]
    assert load_domain("d", str(tmp_path / "**/*.txt")) == [Text(name, name) for name in ordered]
    assert sorted(words(tmp_path)) == sorted(ordered)
    assert words({"files": [str(tmp_path / "b/2.txt"), str(tmp_path / "b")]}) == ["b/2.txt", "b/10.txt"]


def test_a_list_counts_as_paths_only_if_all_of_it_looks_like_paths(tmp_path: Path):
    (tmp_path / "a.txt").write_text("inside")
    path = str(tmp_path / "a.txt")
    assert words([path]) == ["inside"]
    assert words([tmp_path / "a.txt"]) == ["inside"]
    assert words([path, "the file a.txt is here."]) == [path, "the file a.txt is here."]


def test_a_limit_takes_the_first_documents_that_have_text(tmp_path: Path):
    path = lines(tmp_path / "a.jsonl", *({"text": text} for text in ("one", " ", "two", "three")))
    assert words({"files": path, "limit": 2}) == ["one", "two"]
    assert words({"texts": ["", "b", "c"], "limit": 1}) == ["b"]


def test_a_limit_does_not_read_what_it_does_not_need(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\nbroken')
    assert words({"files": tmp_path / "a.jsonl", "limit": 1}) == ["one"]


def test_texts_of_the_library_of_a_package_and_of_a_module_are_found():
    library = load_domain("d", {"stdlib": "*.py", "limit": 50})
    assert len(library) == 50
    assert library == load_domain("d", {"stdlib": "*.py", "limit": 50})
    all_of_it = load_domain("d", {"stdlib": "**/*.py"})
    assert {"abc.py", "json/decoder.py"} <= {one.id for one in all_of_it}
    assert not [one.id for one in all_of_it if one.id.startswith(("site-packages/", "test/"))]
    decoder = (Path(sysconfig.get_path("stdlib")) / "json" / "decoder.py").read_bytes().decode()
    assert load_domain("d", {"package": "json", "files": "decoder.py"}) == [Text("decoder.py", decoder)]
    topics = load_domain("d", {"module": "pydoc_data.topics", "name": "topics"})
    assert len(topics) > 50
    assert "assert" in {one.id for one in topics}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "is empty"),
        (["", " \n"], "is empty"),
        ({}, "this one has nothing"),
        ({"file": "a.txt"}, "names one source out of texts, files, stdlib, module; this one has file"),
        ({"files": "a.txt", "stdlib": "*.py"}, "this one has files, stdlib"),
        ({"files": "a.txt", "limt": 3}, "unknown key 'limt' beside 'files'; did you mean 'limit'?"),
        ({"stdlib": "*.py", "field": "x"}, "unknown key 'field' beside 'stdlib'; allowed beside it: split, limit"),
        ({"texts": ["a"], "limit": 0}, "limit=0: give a whole number"),
        ({"texts": ["a"], "limit": True}, "limit=True"),
        ({"texts": "a"}, "texts: str given"),
        ({"files": "a.txt", "split": "words"}, "unknown split 'words'; choose one of blank_lines, lines"),
        ({"files": "a.txt", "field": 3}, "field=3"),
        ({"files": [3]}, "files: 3 is int"),
        (["a", 3], "item 1 of the list is int"),
        (3, "int given; give a list of texts"),
        (b"text", "bytes given"),
        ("a text\nof two lines", "is taken for a path; put texts into a list"),
        ("nowhere.txt", "file 'nowhere.txt' does not exist"),
        ("nowhere/*.txt", "no file matches 'nowhere/*.txt'"),
        (["half \ud83d of a smile"], "document '0' has half of a surrogate pair at character 5"),
        ({"package": "no_such_package", "files": "*.txt"}, "package 'no_such_package' is not installed"),
        ({"package": "no_such.package", "files": "*.txt"}, "package 'no_such.package' is not installed"),
        ({"package": "abc", "files": "*.txt"}, "package 'abc' is a single module"),
        ({"module": "pydoc_data.topics"}, "say as name="),
        ({"module": "no_such_module", "name": "x"}, "module 'no_such_module' cannot be imported"),
        ({"module": "json", "name": "loads"}, "json.loads is no list of texts"),
        ({"stdlib": "test/*.py"}, "matches only tests or other packages"),
    ],
)
def test_what_cannot_be_a_domain_is_told_in_one_line(given: Any, told: str):
    assert told in message(given)


def test_the_wrong_encoding_is_told_with_the_byte_and_what_to_do(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("naïve".encode("latin-1"))
    assert "is not UTF-8 at byte 2 (0xef): convert it, for example with iconv -f ISO-8859-1" in message(
        tmp_path / "a.txt"
    )
    (tmp_path / "b.txt").write_bytes("wide".encode("utf-16"))
    assert "at byte 0 (0xff): convert it, for example with iconv -f UTF-16" in message(tmp_path / "b.txt")
    first = b'{"text": "one"}\n'
    (tmp_path / "c.jsonl").write_bytes(first + b'{"text": "\xe9"}\n')
    assert f"at byte {len(first) + 10} (0xe9)" in message(tmp_path / "c.jsonl")


def test_a_line_that_is_no_json_or_lacks_the_field_is_told_by_its_number(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": \n')
    assert "line 3 is not JSON" in message(path)
    path.write_text('["one"]\n')
    assert "line 1 is no object" in message(path)
    path.write_text('{"text": "one"}\n{"body": "two", "url": ""}\n')
    assert "line 2 has no field 'text'; it has body, url: name the one with the text as field=" in message(path)
    path.write_text('{"text": ["one"]}\n')
    assert "line 1: field 'text' holds list, and has to hold text" in message(path)
    path.write_text('{"text": "half \\ud83d"}\n')
    assert "half of a surrogate pair" in message(path)


def test_files_of_the_wrong_kind_are_told(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.md").write_text("text")
    assert "holds none of .txt, .txt.gz, .jsonl" in message(tmp_path / "folder")
    for name in ("a.json", "a.jsonl.zst", "a.pdf"):
        (tmp_path / name).write_text("{}")
        assert "give plain text, .jsonl, .jsonl.gz or .parquet" in message(tmp_path / name)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n' * 100)[:-9])
    assert "cut.jsonl.gz cannot be read" in message(tmp_path / "cut.jsonl.gz")
    (tmp_path / "plain.txt.gz").write_bytes(b"not compressed")
    assert "plain.txt.gz cannot be read: Not a gzipped file" in message(tmp_path / "plain.txt.gz")
    lines(tmp_path / "a.jsonl", {"text": "one"})
    assert "split='lines' is for plain text" in message({"files": tmp_path / "a.jsonl", "split": "lines"})
    (tmp_path / "a.txt").write_text("one")
    assert "field='body' is for .jsonl and .parquet" in message({"files": tmp_path / "a.txt", "field": "body"})


def test_a_name_that_no_metric_can_carry_is_refused():
    with pytest.raises(ProbeError, match="domain 'a/b': a name is made of letters"):
        load_domain("a/b", ["text"])


def test_parallel_texts_stay_aligned_where_one_is_empty():
    found = load_parallel("book", {"en": ["one", "two", "three"], "de": ["eins", " ", "drei"]})
    assert {language: [one.text for one in texts] for language, texts in found.items()} == {
        "en": ["one", "three"],
        "de": ["eins", "drei"],
    }


def test_a_limit_on_parallel_texts_counts_places():
    given = {"en": {"texts": ["one", "two", "three"], "limit": 2}, "de": {"texts": ["", "zwei", "drei"], "limit": 2}}
    assert [one.text for one in load_parallel("book", given)["de"]] == ["zwei"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"en": ["one"]}, "give a mapping of two languages or more"),
        (["one", "eins"], "give a mapping of two languages or more"),
        ({"en": ["one", "two"], "de": ["eins"]}, "they have en 2, de 1"),
        ({"en": ["one", ""], "de": ["", "zwei"]}, "no document has text in every language"),
        ({"en": ["one"], "de": "nowhere.txt"}, "'de': file 'nowhere.txt' does not exist"),
        ({"en": ["one"], "de/at": ["eins"]}, "language 'de/at': a name is made of"),
    ],
)
def test_texts_that_are_not_parallel_are_told(given: Any, told: str):
    with pytest.raises(ProbeError) as caught:
        load_parallel("book", given)
    assert told in str(caught.value)
    assert str(caught.value).startswith("parallel texts 'book'")


def test_a_link_to_a_folder_above_does_not_repeat_the_documents(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("one")
    (tmp_path / "sub" / "c.txt").write_text("two")
    (tmp_path / "a").symlink_to(tmp_path)
    found = load_domain("d", str(tmp_path / "**" / "*.txt"))
    assert [(one.id, one.text) for one in found] == [("b.txt", "one"), ("sub/c.txt", "two")]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("", "an empty path"),
        ("a" * 900, "cannot be looked for"),
        ("~nobody-of-this-name/x.txt", "cannot be looked for"),
        ({"a", "b"}, "a set is in another order each time"),
        ({"stdlib": "/etc/host*"}, "matches only tests or other packages"),
    ],
)
def test_a_place_that_cannot_be_looked_at_is_told_in_one_line(given: Any, line: str):
    assert line in message(given)


def test_a_number_of_too_many_digits_is_no_json(tmp_path: Path):
    file = tmp_path / "long.jsonl"
    file.write_text('{"text": ' + "1" * 5000 + "}")
    assert "line 1 is not JSON" in message(str(file))
