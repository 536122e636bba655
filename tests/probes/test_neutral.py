from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from pretrain_monitor.probes.neutral import neutral
from tests.tiny_models import TinyGPT


def states():
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()


def test_random_states_are_as_before_even_after_an_error():
    model = TinyGPT()
    before = states()
    with pytest.raises(KeyError), neutral(model):
        torch.rand(3), np.random.rand(3), random.random()
        raise KeyError
    assert states() == before


def test_each_module_keeps_its_own_mode():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3)))
    model.train()
    model[1][1].eval()  # frozen on purpose
    before = [module.training for module in model.modules()]
    with neutral(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()


def test_buffers_that_a_forward_pass_writes_to_are_as_before():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(4))
            self.register_buffer("table", torch.arange(4.0), persistent=False)
            self.register_buffer("nothing", None)

        def forward(self, x):
            self.seen += 1
            self.table = torch.arange(9.0)
            return x

    model = Counting()
    seen, table = model.seen, model.table
    with neutral(model):
        model(torch.ones(1))
        assert model.seen[0] == 1
        assert len(model.table) == 9
    assert model.seen is seen
    assert model.seen.tolist() == [0.0] * 4
    assert model.table is table


def test_nothing_is_compiled_for_a_probe():
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    model = torch.compile(nn.Linear(4, 4), backend=backend)
    model(torch.ones(2, 4))
    count = len(compiled)
    with neutral(model):
        for rows in (3, 5, 7):
            model(torch.ones(rows, 4))
    assert count == 1
    assert len(compiled) == count


def test_gradients_that_wait_for_the_next_step_are_left_alone():
    model = TinyGPT()
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]
    with neutral(model):
        model(torch.tensor([[4, 5, 6]]))
    assert all(torch.equal(a, p.grad) for a, p in zip(before, model.parameters(), strict=True))


def test_a_backward_pass_of_a_probe_adds_to_no_gradient():
    model = TinyGPT()
    model.head(torch.ones(1, 32)).sum().backward()
    held = {name: parameter.grad for name, parameter in model.named_parameters()}
    before = {name: grad.clone() for name, grad in held.items() if grad is not None}
    with neutral(model), torch.enable_grad():
        model(torch.tensor([[4, 5, 6]])).sum().backward()
        assert model.head.weight.grad is not None
    # Those of the training itself, and not only equal ones: an optimizer or DDP may hold them.
    assert all(parameter.grad is held[name] for name, parameter in model.named_parameters())
    assert before and all(torch.equal(held[name], grad) for name, grad in before.items())


def test_layers_are_not_told_that_the_mode_changes():
    class Merging(nn.Linear):
        """As layers with adapters do: their weights become others when they are told to evaluate."""

        def train(self, mode=True):
            if not mode:
                self.weight.data += 1
            return super().train(mode)

    model = nn.Sequential(Merging(2, 2))
    before = model[0].weight.clone()
    with neutral(model):
        assert not model[0].training
        assert torch.equal(model[0].weight, before)
    assert model[0].training
    assert torch.equal(model[0].weight, before)


def test_of_what_is_no_module_the_random_states_are_kept():
    before = states()
    with neutral("a model of another kind"):
        torch.rand(3), np.random.rand(3), random.random()
    assert states() == before


def test_a_buffer_that_the_first_forward_pass_makes_is_made_by_the_training():
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", None)

        def forward(self, x):
            if self.table is None:
                self.table = torch.ones(len(x))
            return x * self.table

    model = Lazy()
    with neutral(model):
        model(torch.ones(3))
    assert model.table is None


def test_the_compiler_is_not_loaded_where_nobody_compiles():
    code = (
        "import sys, torch; from pretrain_monitor.probes.neutral import neutral\n"
        "model = torch.nn.Linear(2, 2)\n"
        "with neutral(model): model(torch.ones(1, 2))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr
