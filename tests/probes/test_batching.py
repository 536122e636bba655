"""What a model is asked to read at a time: how much of it is padding, and how many logits there are at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain_monitor.probes.language_model import LanguageModel
from pretrain_monitor.probes.rows import plain_row
from pretrain_monitor.probes.scoring import score
from tests.tiny_models import TinyGPT, direct_nats, tiny_llama


def read(model, texts, batch_tokens):
    """Shapes of the batches that a model reads, and what the texts cost."""
    shapes = []
    hook = model.register_forward_pre_hook(lambda module, given: shapes.append(tuple(given[0].shape)))
    try:
        rows = [plain_row(ids, 1, number) for number, ids in enumerate(texts)]
        costs = score(LanguageModel(model), rows, len(texts), batch_tokens=batch_tokens)
    finally:
        hook.remove()
    return shapes, costs.nats


def test_rows_of_different_lengths_are_not_padded_to_the_longest_of_all():
    rng = np.random.default_rng(0)
    lengths = [64] * 2 + list(range(3, 34)) * 4
    texts = [rng.integers(0, 256, length).tolist() for length in lengths]
    torch.manual_seed(0)
    model = TinyGPT()
    shapes, nats = read(model, texts, batch_tokens=4096)
    tokens = sum(length - 1 for length in lengths)
    assert sum(rows * width for rows, width in shapes) < 1.25 * tokens
    assert max(rows * width for rows, width in shapes) > 300  # and yet not one by one
    assert nats == pytest.approx([direct_nats(model, ids) for ids in texts], rel=1e-5)


def test_rows_of_one_length_fill_their_batches():
    texts = [list(range(33))] * 20
    shapes, _ = read(TinyGPT(), texts, batch_tokens=256)
    assert shapes == [(8, 32), (8, 32), (4, 32)]


@pytest.mark.parametrize("vocabulary", [256, 50_257])
def test_logits_are_handed_out_a_few_at_a_time_and_all_of_them(vocabulary):
    model = tiny_llama(vocab_size=vocabulary, hidden_size=8, intermediate_size=8)
    ids = torch.randint(0, 256, (2, 40))
    flat = torch.arange(80)[torch.randperm(80)]
    with torch.no_grad():
        whole = model(ids).logits.view(80, -1)[flat]
        done = 0
        for part, logits in LanguageModel(model).predictions(ids, flat):
            assert part.start == done
            assert torch.allclose(logits, whole[part], atol=1e-5)
            assert logits.numel() <= 2**18
            done = part.stop
    assert done == 80
