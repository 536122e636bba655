"""Loss and token share by domain, where batches say what their rows are."""

from __future__ import annotations

import lightning as L
import pytest
import tiny_hf
import torch
from lightning_parts import QUIET as LIGHTNING_QUIET
from torch.utils.data import DataLoader

from pretrain_monitor import ListSink, read_run
from pretrain_monitor.callbacks.domains import DomainWindow
from pretrain_monitor.callbacks.lightning import MonitorCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Lightning 2.6 uses a call that torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
]

DOMAINS = ("code", "law/court")


def labelled_rows(count: int) -> list[dict]:
    """Domains take turns; every third row ends in five masked positions."""
    return [{**row, "domain": DOMAINS[n % 2]} for n, row in enumerate(tiny_hf.rows(count, padding=5))]


def collate(features: list[dict]) -> dict:
    batch = {name: torch.stack([f[name] for f in features]) for name in ("input_ids", "attention_mask", "labels")}
    return {**batch, "domain": [f["domain"] for f in features]}


def hf_trainer(folder, **settings):
    return tiny_hf.trainer(
        folder,
        tiny_hf.llama(),
        labelled_rows(400),
        options={"data_collator": collate},
        remove_unused_columns=False,
        per_device_train_batch_size=4,
        max_steps=40,
        **settings,
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_hf_tells_loss_and_share_of_each_domain_and_trains_as_if_batches_had_no_labels(tmp_path, accumulate):
    bare = hf_trainer(tmp_path / "bare", gradient_accumulation_steps=accumulate)
    bare.data_collator = lambda features: {k: v for k, v in collate(features).items() if k != "domain"}
    bare.train()
    trainer = hf_trainer(tmp_path, gradient_accumulation_steps=accumulate)
    expected = []
    forward = trainer.model.forward

    def spy(*args, **kwargs):
        output = forward(*args, **kwargs)
        expected.append((kwargs["labels"].detach().clone(), output.logits.detach().clone()))
        return output

    trainer.model.forward = spy
    tiny_hf.watched(trainer, tmp_path, domain_key="domain")
    trainer.train()
    assert tiny_hf.weights_hash(trainer.model) == tiny_hf.weights_hash(bare.model)

    told = [s for s in read_run(tmp_path / "run") if any(name.startswith("domain/") for name in s.metrics)]
    assert [s.step for s in told] == [20, 40]
    assert set(told[0].metrics) >= {f"domain/{d}/{m}" for d in ("code", "law-court") for m in ("loss", "token_share")}
    assert sum(v for name, v in told[0].metrics.items() if name.endswith("token_share")) == pytest.approx(1.0)
    # The loss of step 20 over all labels is that of its domains, weighted by theirs.
    passes = expected[20 * accumulate - accumulate : 20 * accumulate]
    nats = labels = 0.0
    for wanted, logits in passes:
        wanted, logs = wanted[:, 1:], torch.log_softmax(logits[:, :-1].float(), -1)
        kept = wanted != -100
        nats += float(-logs.gather(-1, wanted.clamp(min=0).unsqueeze(-1)).squeeze(-1)[kept].sum())
        labels += int(kept.sum())
    losses = [told[0].metrics[f"domain/{d}/loss"] for d in ("code", "law-court")]
    assert min(losses) <= nats / labels <= max(losses)


def test_the_loss_of_a_domain_is_that_of_its_rows():
    window = DomainWindow("domain", every_steps=1)
    model = torch.nn.Linear(1, 1)
    window.attach(model, 0)
    logits = torch.randn(3, 5, 7, requires_grad=True)
    targets = torch.randint(0, 7, (3, 5))
    targets[1, 3:] = -100
    mask = torch.ones(3, 5, dtype=torch.long)
    mask[1, 3:] = 0
    batch = {"input_ids": targets.clamp(min=0), "attention_mask": mask, "domain": ["a", "b", "a"]}
    window.take_labels(batch)
    assert "domain" not in batch
    window._see_forward(model.train(), (), {"labels": targets}, type("Output", (), {"logits": logits})())
    found = {name: float(value) for name, value in window.metrics().items()}
    cost = torch.nn.functional.cross_entropy

    def loss(*rows):
        return float(cost(logits[list(rows), :-1].flatten(0, 1), targets[list(rows), 1:].flatten()).detach())

    assert found == {
        "domain/a/loss": pytest.approx(loss(0, 2)),
        "domain/a/token_share": 10 / 13,
        "domain/b/loss": pytest.approx(loss(1)),
        "domain/b/token_share": 3 / 13,
    }


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (["a"], "is not one domain a row"),
        (7, "is not one domain a row"),
        (torch.tensor([1, 2, 3]), None),
        ("code", None),
    ],
)
def test_labels_are_one_a_row_or_one_line_is_said(caplog, labels, line):
    window = DomainWindow("domain", every_steps=1)
    for _ in range(3):
        window.take_labels({"input_ids": torch.ones(3, 4), "domain": labels})
    assert len(caplog.records) == (line is not None)
    assert line is None or line in caplog.text
    assert bool(window.metrics()) == (line is None)


class HFInLightning(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = tiny_hf.llama()

    def training_step(self, batch, batch_idx):
        assert "domain" not in batch
        return self.model(**batch).loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def test_lightning_tells_them_too(tmp_path):
    sink = ListSink()
    monitor = MonitorCallback(tmp_path, LIGHTNING_QUIET, sinks=[sink], domain_key="domain")
    loader = DataLoader(labelled_rows(100), batch_size=4, collate_fn=collate)
    trainer = L.Trainer(
        max_steps=20, callbacks=[monitor], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(HFInLightning(), loader)
    last = sink.samples[-1].metrics
    assert last["domain/code/token_share"] == pytest.approx(0.5, abs=0.05)
    assert 3 < last["domain/code/loss"] < 5
