from __future__ import annotations

import math
from typing import Any

import pytest

from pretrain_monitor.readers.cells import CellError, is_empty, number, step_number


@pytest.mark.parametrize(
    ("cell", "value"),
    [("2.5", 2.5), (" 2.5 ", 2.5), (".5", 0.5), ("5.", 5.0), ("+1e-3", 1e-3), ("-0", -0.0), (7, 7.0), (2.5, 2.5)],
)
def test_numbers_are_read_as_loggers_write_them(cell: Any, value: float):
    assert number(cell) == value


@pytest.mark.parametrize("cell", [" inf ", "Infinity", "-inf", "INF", math.inf])
def test_infinity_is_a_value_where_it_is_spelled(cell: Any):
    assert math.isinf(number(cell))


@pytest.mark.parametrize("cell", ["nan", "NaN", " -nan", math.nan])
def test_nan_is_a_value_where_it_is_spelled(cell: Any):
    assert math.isnan(number(cell))


@pytest.mark.parametrize("cell", ["1e400", "-1e400", "9" * 400, 10**400])
def test_a_finite_number_beyond_a_float_is_not_taken_for_infinity(cell: Any):
    with pytest.raises(CellError, match="float"):
        number(cell)


@pytest.mark.parametrize("cell", ["1_000", "１２", "high", "0x10", "1 2", "1e", True, False, [1], {"value": 1}, "None"])
def test_what_other_programs_would_read_as_text_is_no_number(cell: Any):
    with pytest.raises(CellError, match=r"is not a number$"):
        number(cell)
    with pytest.raises(CellError, match=r"is not a whole number$"):
        step_number(cell)


@pytest.mark.parametrize("cell", ["1,000", "3,21", "1.000,5", "1,000,000.5", "-3,21e-4"])
def test_a_comma_could_be_either_and_is_refused_with_the_reason(cell: str):
    for read in (number, step_number):
        with pytest.raises(CellError, match=r"a comma may stand for decimals or for thousands; write 3\.21 and 1000"):
            read(cell)


@pytest.mark.parametrize("cell", [12, 12.0, "12", " 12 ", "+12", "12.0", "1.2e1"])
def test_a_step_is_a_whole_number_however_it_is_written(cell: Any):
    assert step_number(cell) == 12


@pytest.mark.parametrize("step", [2**53 + 1, -(2**53) - 1, 2**62 - 1])
def test_a_step_keeps_every_digit(step: int):
    assert step_number(str(step)) == step_number(step) == step


@pytest.mark.parametrize("cell", [1.5, "1.5", "inf", "nan", 2**62, str(2**62), "9" * 30, "9" * 5000, -(2**62)])
def test_a_fraction_or_a_number_beyond_any_run_is_no_step(cell: Any):
    with pytest.raises(CellError, match="is not a whole number"):
        step_number(cell)


def test_blank_cells_are_empty_and_a_zero_is_not():
    assert all(map(is_empty, (None, "", "  ", "\t")))
    assert not any(map(is_empty, (0, 0.0, False, "0", [])))
