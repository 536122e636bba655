"""From each rank's loss and tokens to those of the step."""

import math

import pytest
import torch

from pretrain_monitor.callbacks.averaging import SUMMED, averaged, contribution, stack

CPU = torch.device("cpu")


def over_ranks(*batches):
    """What ``averaged`` makes of the sum of the ranks' contributions."""
    sums = sum(contribution(batch, CPU) for batch in batches)
    return averaged(dict(zip(SUMMED, sums.tolist(), strict=True)), ranks=len(batches))


# A host number and a tensor that stays on its device take different ways to the same sum.
AS_NUMBER = float
AS_TENSOR = torch.tensor
FORMS = pytest.mark.parametrize("form", [AS_NUMBER, AS_TENSOR])


@FORMS
def test_losses_are_weighted_by_the_tokens_they_were_averaged_over(form):
    loss, tokens = over_ranks(
        {"loss": form(2.0), "weight": form(300.0), "tokens": form(300.0)},
        {"loss": form(4.0), "weight": form(100.0), "tokens": form(100.0)},
    )
    assert (loss, tokens) == (2.5, 400)


@FORMS
def test_without_weights_losses_count_equally(form):
    assert over_ranks({"loss": form(2.0)}, {"loss": form(4.0)}) == (3.0, None)


@FORMS
def test_if_one_rank_has_no_weight_all_losses_count_equally(form):
    # 1,000 tokens against an unknown number: any weight for the second would be a guess.
    loss, _ = over_ranks({"loss": form(2.0), "weight": form(1000.0)}, {"loss": form(4.0)})
    assert loss == 3.0


@pytest.mark.parametrize("loss_form", [AS_NUMBER, AS_TENSOR])
@pytest.mark.parametrize("weight_form", [AS_NUMBER, AS_TENSOR])
def test_a_rank_without_tokens_has_no_say_even_if_its_loss_is_nan(loss_form, weight_form):
    # The mean over a batch in which every label is masked is 0/0.
    empty = {"loss": loss_form(math.nan), "weight": weight_form(0.0), "tokens": 0.0}
    full = {"loss": loss_form(2.0), "weight": weight_form(8.0), "tokens": 8.0}
    assert over_ranks(empty, full) == (2.0, 8)
    assert over_ranks(empty, empty) == (None, 0)
    assert averaged(empty, ranks=1) == (None, 0)


@FORMS
def test_a_nan_on_one_rank_with_tokens_is_seen(form):
    loss, _ = over_ranks({"loss": form(math.nan), "weight": form(8.0)}, {"loss": form(2.0), "weight": form(8.0)})
    assert math.isnan(loss)


@FORMS
def test_a_rank_with_nothing_to_say_changes_nothing_but_the_tokens_are_unknown(form):
    assert over_ranks({"loss": form(2.0), "weight": form(8.0), "tokens": form(8.0)}, {}) == (2.0, None)


def test_nothing_from_anybody_is_nothing():
    assert over_ranks({}, {}) == (None, None)
    assert averaged({}, ranks=1) == (None, None)


@FORMS
def test_tokens_beyond_the_whole_numbers_of_float32_are_exact(form):
    tokens = torch.tensor(2**24 + 1) if form is AS_TENSOR else 2**24 + 1
    loss, total = over_ranks(*[{"loss": form(3.1), "weight": tokens, "tokens": tokens}] * 3)
    assert total == 3 * (2**24 + 1)
    assert loss == torch.tensor(3.1).item()


@FORMS
def test_equal_losses_average_to_themselves_exactly(form):
    for value in torch.rand(200).tolist():
        loss, _ = over_ranks(*[{"loss": form(value), "weight": form(float(n))} for n in (4093, 1021, 77)])
        assert loss == torch.tensor(value).item()


def test_the_mean_of_two_ranks_is_the_float32_mean_that_trainers_log():
    torch.manual_seed(0)
    for pair in torch.rand(200, 2) * 5:
        loss, _ = over_ranks({"loss": pair[0]}, {"loss": pair[1]})
        assert loss == pair.mean().item()


def test_of_a_single_rank_the_loss_is_taken_as_it_is():
    assert averaged({"loss": 0.1, "weight": 3.0, "tokens": 3.0}, ranks=1) == (0.1, 3)


def test_tokens_that_are_no_number_are_unknown():
    assert averaged({"loss": 1.0, "tokens": math.nan}, ranks=1) == (1.0, None)
    assert averaged({"loss": 1.0, "tokens": math.inf}, ranks=1) == (1.0, None)


def test_scalars_of_all_types_stack_into_one_float64_row():
    row = stack([torch.tensor(1, dtype=torch.int64), torch.tensor(0.5, dtype=torch.bfloat16), 2.0], CPU)
    assert row.dtype == torch.float64
    assert row.tolist() == [1.0, 0.5, 2.0]
