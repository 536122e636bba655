"""Runs that know nothing of this package: trained here by plain trainers, gone wrong, and opened in the tab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_plugin_requests import Tab
from torch.utils.tensorboard import SummaryWriter

STEPS, BAD = 240, 180
VOCABULARY, LENGTH, ROWS = 32, 12, 8


def rows(steps: int, seed: int = 0) -> torch.Tensor:
    """Counting upwards, which is soon learned; from step ``BAD`` on some batches of noise."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, VOCABULARY, (steps * ROWS, 1), generator=generator)
    tokens = (starts + torch.arange(LENGTH)) % VOCABULARY
    noise = torch.randint(0, VOCABULARY, (6 * ROWS, LENGTH), generator=generator)
    tokens[(BAD - 1) * ROWS : (BAD - 1 + 6) * ROWS] = noise
    return tokens


class InOrder(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self) -> None:
        self.tokens = rows(STEPS)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[at], "labels": self.tokens[at]}


def model() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "n_positions": LENGTH, "n_embd": 32, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))


def by_trainer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Trainer, TrainingArguments

    class Ordered(Trainer):
        def _get_train_sampler(self, *args: Any) -> Any:
            return None

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(folder))
    arguments = TrainingArguments(
        str(folder.parent / "out"), max_steps=STEPS, logging_steps=1, report_to=["tensorboard"], use_cpu=True,
        per_device_train_batch_size=ROWS, learning_rate=3e-3, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    Ordered(model(), arguments, train_dataset=InOrder()).train()


def by_lightning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning
    from lightning.pytorch.loggers import TensorBoardLogger

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = model()

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.net(**batch).loss
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=3e-3)

    trainer = lightning.Trainer(
        max_steps=STEPS, accelerator="cpu", logger=TensorBoardLogger(str(folder), name="", version="v"),
        log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(InOrder(), batch_size=ROWS))


def by_hand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    with SummaryWriter(str(folder)) as out:
        for step, batch in enumerate(rows(STEPS).split(ROWS), 1):
            loss = net(input_ids=batch, labels=batch).loss
            loss.backward()
            out.add_scalar("Loss/train", loss.item(), step)
            out.add_scalar("grad_norm", torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0), step)
            optimizer.step()
            optimizer.zero_grad()


# As in the other tests with Lightning.
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
@pytest.mark.parametrize("train", [by_trainer, by_lightning, by_hand])
def test_a_run_of_somebody_else_that_went_wrong_is_opened_and_its_incident_is_there(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    train(tmp_path / "logs" / "run", monkeypatch)
    tab = Tab(tmp_path / "logs")
    (run,) = tab.json("/runs")["runs"]
    assert run["kind"] == "events"
    found = tab.whole(run["name"])
    alerts = [one for one in found["incidents"] if one["severity"] != "info"]
    (spike,) = [one for one in alerts if abs(one["onset_step"] - BAD) <= 1]
    assert spike["signals"][0] == "loss"
    drawn = tab.json("/series", run=run["name"], signals="loss", first=1, last=STEPS)["signals"]["loss"]
    assert len(drawn["steps"]) >= STEPS - 1  # the newest step may still be waited for
    worst = drawn["steps"][int(np.nanargmax(np.array(drawn["y"][BAD - 20 :], dtype=float))) + BAD - 20]
    assert BAD - 1 <= worst < BAD + 10  # Lightning counts steps from 0
