"""Norms, ranks and sums; with a process group of one here, of two in callbacks/test_loop_ranks.py."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from pretrain_monitor.distributed import (
    RankSum,
    collective_device,
    do_all_ranks_join,
    full_scalar,
    global_grad_norm,
    is_distributed,
    is_main_rank,
)


@pytest.fixture
def group_of_one():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def with_gradients(*gradients):
    parameters = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros_like(gradient))
        parameter.grad = gradient
        parameters.append(parameter)
    return parameters


def test_the_norm_is_that_of_all_gradients_as_one_vector():
    torch.manual_seed(0)
    gradients = [torch.randn(3, 4), torch.randn(7), torch.randn(())]
    expected = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert global_grad_norm(with_gradients(*gradients)).item() == pytest.approx(expected.item())


def test_parameters_without_a_gradient_are_passed_over():
    assert global_grad_norm([]) is None
    assert global_grad_norm([nn.Parameter(torch.ones(2))]) is None
    parameters = [nn.Parameter(torch.ones(2)), *with_gradients(torch.tensor([3.0, 4.0]))]
    assert global_grad_norm(parameters).item() == 5.0


def test_parameters_may_come_from_a_generator():
    model = nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    expected = nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    assert global_grad_norm(model.parameters()).item() == pytest.approx(expected.item())


def test_the_norm_of_bfloat16_gradients_has_more_than_two_digits():
    torch.manual_seed(0)
    gradient = torch.randn(4096).to(torch.bfloat16)
    norm = global_grad_norm(with_gradients(gradient))
    assert norm.dtype == torch.float32
    assert norm.item() == pytest.approx(gradient.double().norm().item(), rel=1e-6)


def test_gradients_of_several_types_and_meshes_are_one_norm(group_of_one):
    plain, low = torch.tensor([1.0, 2.0]), torch.tensor([2.0], dtype=torch.bfloat16)
    sharded = distribute_tensor(torch.tensor([[4.0], [2.0]]), group_of_one, [Shard(0)])
    replicated = distribute_tensor(torch.tensor([6.0, 4.0]), group_of_one, [Replicate()])
    norm = global_grad_norm(with_gradients(plain, low, sharded, replicated))
    assert not isinstance(norm, DTensor)
    assert norm.item() == pytest.approx(81.0**0.5)


def test_a_large_norm_does_not_overflow_where_groups_are_joined(group_of_one):
    # The square of 3e19 is beyond float32.
    sharded = distribute_tensor(torch.tensor([3e18]), group_of_one, [Shard(0)])
    assert global_grad_norm(with_gradients(torch.tensor([4e18]), sharded)).item() == pytest.approx(5e18)


def test_not_finite_gradients_have_a_norm_that_is_not_finite():
    assert global_grad_norm(with_gradients(torch.tensor([1.0, float("nan")]))).isnan()
    assert global_grad_norm(with_gradients(torch.tensor([1.0, float("inf")]))).isinf()


def test_a_dtensor_scalar_becomes_plain_and_everything_else_stays(group_of_one):
    partial = DTensor.from_local(torch.tensor(2.0), group_of_one, [Partial()])
    assert not isinstance(full_scalar(partial), DTensor)
    assert full_scalar(partial).item() == 2.0
    assert full_scalar(3.0) == 3.0
    assert full_scalar(None) is None


def test_without_a_process_group_there_is_one_rank_and_it_is_the_main_one(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert not is_distributed()
    assert is_main_rank()


@pytest.mark.parametrize(("rank", "is_main"), [("0", True), ("1", False)])
def test_before_the_process_group_exists_the_launcher_tells_the_rank(monkeypatch, rank, is_main):
    monkeypatch.setenv("RANK", rank)
    assert is_main_rank() is is_main


def test_the_process_group_knows_better_than_the_environment(monkeypatch, group_of_one):
    monkeypatch.setenv("RANK", "1")
    assert is_main_rank()
    assert not is_distributed()


def test_gloo_reduces_on_the_host(group_of_one):
    assert collective_device() == torch.device("cpu")


def test_a_single_rank_has_joined_at_once(group_of_one):
    assert do_all_ranks_join("alone", timeout_s=0.0)


def test_each_sum_comes_with_the_next_exchange_and_the_last_when_taken(group_of_one):
    ranks = RankSum()
    assert ranks.take() is None
    assert ranks.exchange("a", torch.tensor([1.0])) is None
    label, total = ranks.exchange("b", torch.tensor([2.0]))
    assert (label, total.item()) == ("a", 1.0)
    label, total = ranks.take(timeout_s=5.0)
    assert (label, total.item()) == ("b", 2.0)
    assert ranks.take() is None
