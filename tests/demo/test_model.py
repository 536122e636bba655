import math

import pytest
import torch
import torch.nn.functional as F

from pretrain_monitor.demo.model import GPT, IGNORED


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(layers=2, width=32, heads=2, context=16)


@pytest.fixture
def input_ids():
    return torch.randint(0, 256, (3, 16), generator=torch.Generator().manual_seed(0))


def test_no_byte_sees_a_later_one(model, input_ids):
    changed = input_ids.clone()
    changed[:, 10:] = 0
    before, after = model(input_ids)["logits"], model(changed)["logits"]
    assert torch.allclose(before[:, :10], after[:, :10], atol=1e-6)
    assert not torch.allclose(before[:, 10:], after[:, 10:], atol=1e-3)


def test_the_loss_is_the_mean_over_scored_bytes_in_nats(model, input_ids):
    labels = input_ids.clone()
    labels[0, 5:] = IGNORED
    result = model(input_ids, labels)
    expected = F.cross_entropy(result["logits"][:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
    assert result["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert result["loss"].item() == pytest.approx(math.log(256), abs=0.3)


def test_a_batch_without_labels_makes_the_loss_and_every_gradient_nan(model, input_ids):
    loss = model(input_ids, torch.full_like(input_ids, IGNORED))["loss"]
    loss.backward()
    assert loss.isnan()
    assert all(parameter.grad.isnan().any() for parameter in model.parameters())
