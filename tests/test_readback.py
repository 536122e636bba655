"""The ring that brings device values to the host late, on a CPU: a device that the test moves on by hand."""

import random

import pytest
import torch

from pretrain_monitor.readback import LateReadback


class HandDrivenArrival:
    def __init__(self, device, row, host):
        self.device, self.row, self.host = device, row, host
        self.is_there = False

    def query(self):
        return self.is_there

    def synchronize(self):
        self.device.waits += 1
        self.device.run_until(self)

    def happen(self):
        self.host.copy_(self.row)
        self.is_there = True


class HandDrivenCopies:
    """A device that carries out copies in order, when told to."""

    def __init__(self):
        self.queue = []
        self.waits = 0
        self.buffers_made = 0

    def is_late(self, row):
        return True

    def buffer(self, width):
        self.buffers_made += 1
        return torch.full((width,), -1.0, dtype=torch.float64)

    def send(self, row, host):
        arrival = HandDrivenArrival(self, row.clone(), host)
        self.queue.append(arrival)
        return arrival

    def run(self, copies):
        for _ in range(min(copies, len(self.queue))):
            self.queue.pop(0).happen()

    def run_until(self, arrival):
        while not arrival.is_there:
            self.run(1)


def row(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_on_a_cpu_values_come_back_at_once():
    ring = LateReadback()
    assert ring.push("a", row(1.0, 2.0)) == [("a", [1.0, 2.0])]
    assert ring.push("b", None) == [("b", [])]
    assert ring.flush() == []


def test_nothing_is_read_before_it_has_arrived():
    device = HandDrivenCopies()
    ring = LateReadback(copies=device)
    assert ring.push(1, row(1.0)) == []
    assert ring.push(2, row(2.0)) == []
    device.run(1)
    assert ring.push(3, row(3.0)) == [(1, [1.0])]
    device.run(2)
    assert ring.drain() == [(2, [2.0]), (3, [3.0])]
    assert device.waits == 0


def test_the_host_waits_only_when_the_ring_is_full_and_then_for_one_row():
    device = HandDrivenCopies()
    ring = LateReadback(depth=3, copies=device)
    for step in (1, 2, 3):
        assert ring.push(step, row(step)) == []
    assert device.waits == 0
    assert ring.push(4, row(4.0)) == [(1, [1.0])]
    assert device.waits == 1


def test_flush_waits_for_everything_and_delivers_in_order():
    device = HandDrivenCopies()
    ring = LateReadback(copies=device)
    for step in range(5):
        ring.push(step, row(step))
    assert ring.flush() == [(step, [float(step)]) for step in range(5)]
    assert ring.flush() == []


def test_labels_without_values_keep_their_place_in_the_order():
    device = HandDrivenCopies()
    ring = LateReadback(copies=device)
    ring.push(1, row(1.0))
    assert ring.push(2, None) == []
    assert ring.push(3, row(3.0)) == []
    device.run(1)
    assert ring.drain() == [(1, [1.0]), (2, [])]
    assert device.waits == 0


@pytest.mark.parametrize("seed", range(5))
def test_every_row_arrives_once_in_order_with_its_own_values_whatever_the_device_does(seed):
    chance = random.Random(seed)
    device = HandDrivenCopies()
    ring = LateReadback(depth=4, copies=device)
    arrived = []
    for step in range(500):
        # Widths differ from step to step: some steps have a gradient norm or further metrics, some have not.
        width = chance.choice((0, 1, 3, 20))
        arrived += ring.push(step, row(*(step + i for i in range(width))) if width else None)
        device.run(chance.choice((0, 0, 1, 2, 5)))
    arrived += ring.flush()
    assert [label for label, _ in arrived] == list(range(500))
    assert all(values == [label + i for i in range(len(values))] for label, values in arrived)


def test_buffers_are_reused_and_only_after_they_have_been_read():
    device = HandDrivenCopies()
    ring = LateReadback(depth=4, copies=device)
    arrived = []
    for step in range(200):
        arrived += ring.push(step, row(step, -step))
    arrived += ring.flush()
    assert device.buffers_made <= 4
    assert arrived == [(step, [float(step), float(-step)]) for step in range(200)]


def test_rows_of_different_widths_share_buffers():
    device = HandDrivenCopies()
    ring = LateReadback(depth=2, copies=device)
    for step in range(100):
        ring.push(step, row(*range(1 + step % 5)))
    assert device.buffers_made <= 2
