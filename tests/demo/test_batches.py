import numpy as np
import torch

from pretrain_monitor.demo.batches import PlannedRows
from pretrain_monitor.demo.model import IGNORED
from pretrain_monitor.demo.plan import plan_run
from pretrain_monitor.demo.recipe import loader_of
from pretrain_monitor.demo.text import load_text

BATCH_SIZE, CONTEXT = 24, 64


def rows_of(fault, *, seed=0, steps=None):
    return PlannedRows(load_text(), plan_run(fault, steps), batch_size=BATCH_SIZE, context=CONTEXT, seed=seed)


def is_in(windows, text):
    data = text.tobytes()
    return all(window.numpy().astype(np.uint8).tobytes() in data for window in windows)


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    first, again, other = rows_of("none"), rows_of("none"), rows_of("none", seed=1)
    assert torch.equal(first.batch(7)[0], again.batch(7)[0])
    assert not torch.equal(first.batch(7)[0], first.batch(8)[0])
    assert not torch.equal(first.batch(7)[0], other.batch(7)[0])


def test_a_loader_gives_the_batches_of_the_plan_in_order():
    rows = rows_of("none", steps=5)
    batches = list(loader_of(rows))
    assert len(batches) == 5
    for step, batch in enumerate(batches, start=1):
        input_ids, labels = rows.batch(step)
        assert torch.equal(batch["input_ids"], input_ids)
        assert torch.equal(batch["labels"], labels)


def test_training_windows_come_from_the_training_part():
    code = load_text()["code"]
    input_ids, labels = rows_of("none").batch(3)
    assert input_ids.shape == labels.shape == (BATCH_SIZE, CONTEXT)
    assert torch.equal(input_ids, labels)
    assert is_in(input_ids, code.train_bytes())


def test_corrupted_batches_are_noise():
    rows, start = rows_of("batch"), plan_run("batch").fault_step
    input_ids, _ = rows.batch(start)
    assert (input_ids > 127).float().mean() > 0.4  # the sources are nearly all ASCII
    assert (rows.batch(start + 5)[0] > 127).float().mean() < 0.1


def test_after_a_domain_switch_all_windows_are_documentation():
    rows, start = rows_of("domain"), plan_run("domain").fault_step
    documentation = load_text()["documentation"].train_bytes()
    assert not is_in(rows.batch(start - 1)[0], documentation)
    assert is_in(rows.batch(start)[0], documentation)
    assert is_in(rows.batch(start + 300)[0], documentation)


def test_an_unlabelled_batch_has_text_and_nothing_to_learn():
    rows, start = rows_of("nan"), plan_run("nan").fault_step
    input_ids, labels = rows.batch(start)
    assert is_in(input_ids, load_text()["code"].train_bytes())
    assert (labels == IGNORED).all()
    assert not (rows.batch(start + 1)[1] == IGNORED).any()
