"""xz as a yardstick for bits per byte."""

from __future__ import annotations

import lzma
import math
import random

import pytest

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.compressor import MEANINGFUL_BYTES, coverage, is_meaningful, xz_bits_per_byte
from pretrain_monitor.probes.texts import Text, load_domain


def hexadecimal(letters: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices("0123456789abcdef", k=letters))


def test_random_hexadecimal_takes_the_four_bits_a_letter_that_it_holds():
    assert 4.0 < xz_bits_per_byte([hexadecimal(200_000)]) < 4.25


def test_bits_are_per_byte_and_not_per_character():
    wide = hexadecimal(50_000).translate({ord(a): 0x4E00 + i for i, a in enumerate("0123456789abcdef")})
    assert 4 / 3 < xz_bits_per_byte([wide]) < 2


def test_the_stream_comes_back_and_is_smaller_than_the_file_that_xz_writes():
    text = hexadecimal(1000)
    setting = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 4096}
    raw = lzma.compress(text.encode(), lzma.FORMAT_RAW, filters=[setting])
    assert lzma.decompress(raw, lzma.FORMAT_RAW, filters=[setting]) == text.encode()
    assert xz_bits_per_byte([text]) == 8 * len(raw) / 1000
    assert 8 * len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)) / 1000 > xz_bits_per_byte([text]) + 0.3


def test_documents_are_joined_and_a_repeated_one_is_nearly_free():
    page = hexadecimal(200_000)
    assert xz_bits_per_byte([page, page]) == pytest.approx(xz_bits_per_byte([page]) / 2, rel=0.01)
    assert xz_bits_per_byte([page[:70_000], page[70_000:]]) == xz_bits_per_byte([page])


def test_a_small_domain_looks_incompressible():
    topics = load_domain("d", {"module": "pydoc_data.topics", "name": "topics"})
    text = "".join(one.text for one in topics)
    few, some, all_of_it = (xz_bits_per_byte([text[:size]]) for size in (1_000, 30_000, len(text)))
    assert few > 1.5 * some > 1.5 * 1.2 * all_of_it
    assert xz_bits_per_byte(topics) == all_of_it


def test_meaningful_begins_at_the_size_that_was_measured():
    assert (is_meaningful(MEANINGFUL_BYTES), is_meaningful(MEANINGFUL_BYTES - 1)) == (True, False)


def test_coverage_says_how_many_times_fewer_bits_the_model_needs():
    assert coverage(bits_per_byte=1.0, compressor_bits=1.5) == 1.5
    assert coverage(bits_per_byte=3.0, compressor_bits=1.5) == 0.5


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_coverage_of_no_number_is_refused(wrong: float):
    with pytest.raises(ProbeError, match="coverage: bits_per_byte="):
        coverage(wrong, 2.0)
    with pytest.raises(ProbeError, match="coverage: compressor_bits="):
        coverage(2.0, wrong)


def test_no_text_is_refused():
    for nothing in ([], [""], [Text("a", "")]):
        with pytest.raises(ProbeError, match="no text to compress"):
            xz_bits_per_byte(nothing)
