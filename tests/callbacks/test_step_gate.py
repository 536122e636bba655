"""Which updates are left out: by the host, and by the same rule on the device."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_gather import ReadsOfDeviceTensors, fake_device, on_device  # noqa: F401  (fixtures)

from pretrain_monitor.actions import SkipStep
from pretrain_monitor.callbacks.device_gate import DeviceGate
from pretrain_monitor.callbacks.step_gate import StepGate


def decisions(norms: list[float], extreme_sd: float | None = 8.0) -> list[bool]:
    gate = StepGate(SkipStep(extreme_sd=extreme_sd))
    return [gate.reason_to_skip(norm) is not None for norm in norms]


def healthy(n: int, *, seed: int = 0, sd: float = 0.2) -> list[float]:
    return list(np.exp(np.random.default_rng(seed).normal(0.0, sd, n)))


def test_what_is_not_finite_is_left_out_from_the_first_step_on():
    assert decisions([math.nan, 1.0, math.inf, -math.inf, 1.0]) == [True, False, True, True, False]


def test_one_that_is_not_finite_does_not_have_later_ones_left_out():
    norms = healthy(200)
    norms[100] = math.nan
    assert decisions(norms) == [step == 100 for step in range(200)]


def test_a_spike_is_left_out_and_does_not_change_what_the_next_are_held_against():
    norms = healthy(300)
    for step in (150, 152, 200, 250):
        norms[step] = 50.0
    assert [step for step, left_out in enumerate(decisions(norms)) if left_out] == [150, 152, 200, 250]


@pytest.mark.parametrize("seed", range(5))
def test_healthy_norms_pass_also_with_heavy_tails_and_while_they_fall(seed: int):
    generator = np.random.default_rng(seed)
    norms = np.exp(0.15 * generator.standard_t(4, 5000)) * (1 + 5 * np.exp(-np.arange(5000) / 300))
    assert sum(decisions(list(norms), extreme_sd=10.0)) <= 5


def test_a_level_that_stays_is_accepted_after_a_few_steps():
    norms = [*healthy(200), *(20 * norm for norm in healthy(200, seed=1))]
    assert sum(decisions(norms)) == 5


def test_before_it_knows_what_is_usual_nothing_is_extreme():
    assert not any(decisions([1.0, 1000.0, 1.0, 1e6, *healthy(40)]))


def test_the_budget_counts_steps_and_goes_back_with_the_training():
    gate = StepGate(SkipStep(at_most=2, per_steps=100))
    assert [gate.may_skip(step) for step in (10, 20, 30, 109, 110, 111)] == [True, True, False, False, True, False]
    gate.rewound(50)
    assert not gate.may_skip(60)
    assert gate.may_skip(150)


@pytest.mark.parametrize("extreme_sd", [None, 6.0])
def test_the_device_decides_as_the_host_does(extreme_sd: float | None):
    generator = np.random.default_rng(3)
    norms = np.exp(0.2 * generator.standard_t(3, 1500))
    norms[generator.integers(0, 1500, 40)] *= 100
    norms[generator.integers(0, 1500, 20)] = np.nan
    norms[generator.integers(0, 1500, 20)] = np.inf
    norms[700:] *= 30
    norms[900] = 0.0
    values = [float(np.float32(norm)) for norm in norms]
    gate = DeviceGate(extreme_sd)
    left_out = [bool(gate.decide(torch.tensor(value))) for value in values]
    assert left_out == decisions(values, extreme_sd)
    assert 0 < sum(left_out) < 200


def test_nobody_waits_for_the_device(on_device, fake_device):  # noqa: F811
    gate = DeviceGate(6.0)
    counter = ReadsOfDeviceTensors()
    with fake_device, counter:
        for _ in range(3):
            decision = gate.decide(on_device())
    assert counter.reads == []
    assert decision.device.type == "cuda"


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.Adagrad])
def test_a_fused_optimizer_that_is_told_so_leaves_everything_as_it_was(kind):
    from pretrain_monitor.callbacks.device_gate import FoundInf

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    optimizer = kind(model.parameters(), lr=1e-2, fused=True, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
    found = FoundInf()
    assert found.is_understood_by(optimizer)

    def step(left_out: float, factor: float = 1.0) -> None:
        optimizer.zero_grad()
        (model(torch.ones(2, 4)).square().mean() * factor).backward()
        found.tell(optimizer, torch.tensor(left_out))
        optimizer.step()

    def everything() -> list[list]:
        state = [value for values in optimizer.state.values() for value in values.values()]
        return [tensor.tolist() for tensor in (*model.parameters(), *state)]

    step(0.0)
    step(0.0)
    before = everything()
    step(1.0, factor=math.nan)
    assert everything() == before
    step(0.0)
    assert everything() != before
    assert not {"grad_scale", "found_inf"} & set(vars(optimizer)), "nothing is left behind"
    found.close()
