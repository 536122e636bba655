"""Losses added up in float32, on the host or on a device without one."""

import itertools
import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pretrain_monitor.callbacks.losses import in_float32, settled
from pretrain_monitor.callbacks.microbatch import MicroBatch, as_trainer_scales, sum_losses
from pretrain_monitor.callbacks.window import StepWindow

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])


def losses(n, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    # Of very different sizes, so that every addition rounds.
    return list((torch.randn(n, generator=generator) * 10 ** torch.linspace(-4, 4, n)).to(dtype))


@DTYPES
@pytest.mark.parametrize("n", [1, 2, 7, 200])
def test_numbers_add_up_to_the_very_float32_that_tensors_add_up_to(dtype, n):
    parts = losses(n, dtype)
    expected = torch.zeros((), dtype=torch.float32)
    for part in parts:
        expected += part
    assert sum_losses([MicroBatch(settled(part), None, is_scaled=True) for part in parts]) == expected.item()
    assert sum_losses([MicroBatch(part, None, is_scaled=True) for part in parts]) == expected.item()


@DTYPES
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_the_mean_over_a_window_is_the_very_float32_that_tensors_give(dtype, n):
    window, parts = StepWindow(), losses(n, dtype, seed=1)
    for part in parts:
        window.add({"loss": part}, {}, tokens=None)
    total = torch.zeros((), dtype=torch.float32)
    for part in parts:
        total += part
    assert window.loss == (total / n).item()
    assert in_float32(window.loss * 7) == (total / n * 7).item()


def test_products_and_quotients_are_rounded_as_tensors_round_them():
    values = [part.item() for part in losses(40, torch.float32, seed=2)]
    for a, b in itertools.pairwise(values):
        assert in_float32(a * b) == (torch.tensor(a) * torch.tensor(b)).item()
        assert in_float32(a / b) == (torch.tensor(a) / torch.tensor(b)).item()


def test_what_is_not_finite_or_beyond_float32_stays_a_number():
    assert math.isnan(settled(torch.tensor(math.nan)))
    assert settled(torch.tensor(-math.inf)) == -math.inf
    assert settled(torch.tensor(1e300, dtype=torch.float64)) == math.inf
    assert in_float32(3e38 + 3e38) == math.inf


def test_a_loss_that_is_changed_in_place_afterwards_was_taken_before():
    loss = torch.tensor(2.5, requires_grad=True)
    taken = settled(loss)
    with torch.no_grad():
        loss += 1
    assert taken == 2.5


@DTYPES
def test_nothing_is_read_from_a_device(dtype):
    # A device without one: these tensors say they are on "cuda:0" and hold no values, so reading one is an error.
    with FakeTensorMode():
        loss = torch.ones((), dtype=dtype, device="cuda")
        taken = settled(loss)
        assert taken.device.type == "cuda" and taken.dtype is torch.float32
        assert taken is not loss and not taken.requires_grad
        parts = [MicroBatch(taken, 1, is_scaled=True), MicroBatch(loss, 1, is_scaled=False)]
        total = sum_losses(as_trainer_scales(parts, ranks=2))
        assert total.device.type == "cuda" and total.dtype is torch.float32
