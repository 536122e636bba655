import pytest

from pretrain_monitor.printable import clean, shorten, shown_path


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\nb", "a\x00b", "a\ud800b", "a\u202eb", "a\x9bb"])
def test_nothing_that_moves_a_terminal_or_breaks_a_line_is_left(text: str):
    assert clean(text).isprintable()
    assert clean(text).startswith("a")
    assert clean(text).endswith("b")
    clean(text).encode()


def test_text_of_any_language_is_left_alone():
    assert clean("Verlust größer, 損失 ↑") == "Verlust größer, 損失 ↑"


@pytest.mark.parametrize("length", [79, 80, 81, 100_000])
def test_a_long_text_keeps_both_ends(length: int):
    text = ("begin" + "x" * length)[: length - 3] + "end"
    short = shorten(text)
    assert len(short) <= 80
    assert (short == text) == (length <= 80)
    assert short.startswith("begin")
    assert short.endswith("end")


def test_a_path_is_whole_unless_nobody_would_read_it():
    assert shown_path("/a/" * 60) == "/a/" * 60
    assert len(shown_path("/a/" * 600)) <= 240
