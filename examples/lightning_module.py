"""Lightning: the monitor is one more callback; the module knows nothing of it.

    python examples/lightning_module.py --steps 400 --run-dir runs/lightning_module

Needs pip install 'pretrain-monitor[lightning]'.
"""

from typing import Any

import lightning as L
import torch
from tiny import TinyGPT, Windows, arguments, library_text, warmup_cosine
from torch import Tensor
from torch.utils.data import DataLoader

from pretrain_monitor.callbacks.lightning import MonitorCallback


class LanguageModel(L.LightningModule):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.model = TinyGPT()
        self.steps = steps

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.model(batch["input_ids"])

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def collate(rows: list[Tensor]) -> dict[str, Tensor]:
    return {"input_ids": torch.stack(rows)}  # under this name the monitor can count tokens


def main() -> None:
    args = arguments("lightning_module")
    L.seed_everything(0)
    trainer = L.Trainer(
        max_steps=args.steps,
        gradient_clip_val=1.0,
        accumulate_grad_batches=2,
        callbacks=[MonitorCallback(run_dir=args.run_dir)],
        default_root_dir=args.run_dir,
        enable_checkpointing=False,
        logger=False,
    )
    loader = DataLoader(Windows(library_text()), batch_size=8, shuffle=True, collate_fn=collate)
    trainer.fit(LanguageModel(args.steps), loader)


if __name__ == "__main__":
    main()
