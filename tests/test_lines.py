"""Samples written out by hand against the encoder that they stand in for."""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretrain_monitor import Sample
from pretrain_monitor.lines import line, sample_line


def as_the_encoder_writes(sample: Sample) -> bytes:
    return line("sample", sample.to_json())


def any_float(chance: random.Random) -> float:
    """Any of the 2**64, or one as metrics have them."""
    if chance.random() < 0.5:
        return float(struct.unpack("d", chance.randbytes(8))[0])
    return chance.choice((chance.gauss(3, 1), float(chance.randint(-5, 5)), 10 ** chance.uniform(-320, 308), -0.0))


NAMES = (
    "loss", "grad_norm/layer.0", 'with "quotes"', "back\\slash", "line\nbreak", "tab\t", "Verlust-größe", "損失",
    "\x00", "\x7f", "\U0001f600", "\ud800", "", "</script>",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_a_sample_gives_the_very_bytes_that_the_encoder_gives(seed: int):
    chance = random.Random(seed)
    for step in range(3000):
        metrics = {chance.choice(NAMES): any_float(chance) for _ in range(chance.randint(0, 5))}
        sample = Sample(
            step, metrics, chance.choice((None, 0, 10**15)), chance.choice((None, 1.7e9 + step / 7, any_float(chance))),
            chance.choice((None, None, {}, {"resumed_from": 3, "why": "größer"})),
        )  # fmt: skip
        assert sample_line(sample) == as_the_encoder_writes(sample)


@pytest.mark.parametrize(
    "sample",
    [
        Sample(1, {"loss": 2}, time=1.0),
        Sample(1, {"loss": True}, time=1.0),
        Sample(1, {3: 2.0}, time=1.0),  # type: ignore[dict-item]
        Sample(True, {"loss": 2.0}, time=1.0),
        Sample(1, {"loss": np.float64(2.5)}, time=1.0),
        Sample(1, {"loss": 2.0}, tokens_seen=True, time=1.0),
        Sample(1, {"loss": 2.0}, tokens_seen=2.5, time=1),  # type: ignore[arg-type]
        Sample(1, {"loss": 2.0}, time=math.nan),
        Sample(1, {"loss": 2.0}, time=1.0, meta={"path": Path("x")}),
    ],
    ids=str,
)
def test_what_is_unusual_is_left_to_the_encoder(sample: Sample):
    assert sample_line(sample) == as_the_encoder_writes(sample)


def test_every_float_is_read_back_as_it_was():
    chance = random.Random(9)
    values = [any_float(chance) for _ in range(5000)]
    for value in values:
        read: dict[str, Any] = json.loads(sample_line(Sample(1, {"loss": value}, time=1.0)))
        assert Sample.from_json(read).metrics["loss"] == pytest.approx(value, rel=0, abs=0, nan_ok=True)
