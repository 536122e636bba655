"""python -m benchmarks.gpu: what the tests cannot see without a GPU, checked on one. Exit code 1 if a check fails."""

from __future__ import annotations

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable with it, and it is read once

import argparse
import hashlib
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.probes import ChoiceProbe, PerplexityProbe
from pretrain_monitor.probes.tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[1]
QUIET: dict[str, Any] = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
EVERY_10 = {"every_steps": 10, "budget_percent": 1000.0}
VOCABULARY = 512
TOKENIZER = Tokenizer("bytes", lambda texts: [list(text.encode()) for text in texts], prefix_id=0)
WORDS = ("the", "model", "reads", "a", "text", "and", "says", "what", "comes", "next", "of", "all", "that", "might")


def texts(count: int, words: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=int(n))) for n in random.integers(3, words, size=count)]


def questions(count: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    endings = [" " + word for word in WORDS]
    return [
        {"context": context, "choices": list(random.choice(endings, size=4, replace=False)), "answer": 0}
        for context in texts(count, 60, seed=2)
    ]


def llama(**sizes: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "intermediate_size": 256, "num_attention_heads": 4, **sizes}
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": 256, **sizes}
    return LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=False))


def probes() -> list[Any]:
    heldout = PerplexityProbe({"even": texts(20, 80), "odd": texts(7, 20, seed=3)}, TOKENIZER, context_length=256)
    return [heldout, ChoiceProbe({"quiz": questions(20)}, TOKENIZER, context_length=256)]


def digest(model: Any) -> str:
    whole = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        whole.update(name.encode() + tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return whole.hexdigest()


def loop(
    device: torch.device,
    steps: int,
    *,
    probed: bool,
    bf16: bool = False,
    is_compiled: bool = False,
    checks_waits: bool = False,
    dropout: float = 0.1,
) -> tuple[str, list[float]]:
    """A plain training; its weights, and seconds of each call of the monitor."""
    model = llama(num_hidden_layers=2).to(device)
    model.config.attention_dropout = dropout
    run: Any = torch.compile(model) if is_compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=device.type == "cuda")
    ids = torch.randint(0, VOCABULARY, (64, 128), device=device)
    took = []
    with (
        tempfile.TemporaryDirectory() as folder,
        LoopMonitor(
            Path(folder) / "run", {**QUIET, "probes": EVERY_10}, probes=probes() if probed else [], model=run
        ) as monitor,
    ):
        for step in range(steps):
            batch = ids[torch.randint(0, 64, (8,), device=device)]
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits = run(input_ids=batch, use_cache=False).logits
            loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if checks_waits and step >= 5:
                torch.cuda.set_sync_debug_mode("error")
            began = time.perf_counter()
            try:
                monitor.step(loss=loss, grad_norm=norm, optimizer=optimizer, tokens=batch.numel())
            finally:
                took.append(time.perf_counter() - began)
                if checks_waits:
                    torch.cuda.set_sync_debug_mode("default")
    return digest(model), took


def never_waits(device: torch.device) -> str:
    """200 steps with torch told to raise where the host waits for the device."""
    _, took = loop(device, 200, probed=False, checks_waits=True)
    return f"200 steps, no synchronization; {statistics.median(took[20:]) * 1e6:.0f} us a step on the host"


def is_neutral(device: torch.device, **how: Any) -> Callable[[], str]:
    def check() -> str:
        bare, watched = (loop(device, 60, probed=probed, **how)[0] for probed in (False, True))
        assert bare == watched, "probes changed the training"
        assert bare != loop(device, 61, probed=False, **how)[0], "the digest sees no step"
        return "60 steps, probes every 10: the same weights to the bit"

    return check


def trainer_is_neutral(device: torch.device) -> str:
    from transformers import Trainer, TrainingArguments

    from pretrain_monitor.callbacks.huggingface import MonitorCallback

    def train(folder: Path, *, probed: bool) -> tuple[str, int]:
        torch.manual_seed(0)
        arguments = TrainingArguments(
            output_dir=str(folder), max_steps=60, per_device_train_batch_size=4, gradient_accumulation_steps=2,
            bf16=device.type == "cuda", use_cpu=device.type == "cpu", gradient_checkpointing=True, report_to="none",
            save_strategy="no", logging_steps=5, disable_tqdm=True,
        )  # fmt: skip
        model = llama()
        data = [{"input_ids": row, "labels": row} for row in torch.randint(0, VOCABULARY, (200, 64))]
        trainer = Trainer(model, arguments, train_dataset=data)
        MonitorCallback(folder / "run", {**QUIET, "probes": EVERY_10}, probes=probes() if probed else []).attach(
            trainer
        )
        trainer.train()
        assert next(model.parameters()).device.type == device.type
        log = (folder / "run" / "run.jsonl").read_text().splitlines()
        return digest(model), sum('"probes"' in line for line in log)

    with tempfile.TemporaryDirectory() as folder:
        bare, _ = train(Path(folder) / "bare", probed=False)
        watched, rounds = train(Path(folder) / "probed", probed=True)
    assert bare == watched, "probes changed the training"
    assert rounds >= 6, f"{rounds} rounds"
    return f"Trainer, bf16, accumulation, checkpointing: the same weights to the bit after {rounds} rounds"


def lightning_is_neutral(device: torch.device) -> str:
    import lightning

    from pretrain_monitor.callbacks.lightning import MonitorCallback

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = llama()

        def training_step(self, batch: Any, number: int) -> Any:
            return self.model(input_ids=batch, labels=batch, use_cache=False).loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def train(folder: Path, *, probed: bool) -> str:
        lightning.seed_everything(0, verbose=False)
        module = Module()
        data = torch.utils.data.DataLoader(torch.randint(0, VOCABULARY, (480, 64)), batch_size=8, shuffle=True)
        forward = lambda module, ids: module.model(input_ids=ids, use_cache=False).logits  # noqa: E731
        used = [
            PerplexityProbe({"even": texts(20, 80)}, TOKENIZER, context_length=256, forward=forward),
            ChoiceProbe({"quiz": questions(9)}, TOKENIZER, context_length=256, forward=forward),
        ]
        callback = MonitorCallback(folder / "run", {**QUIET, "probes": EVERY_10}, probes=used if probed else [])
        trainer = lightning.Trainer(
            max_steps=60, accelerator="gpu" if device.type == "cuda" else "cpu", devices=1, precision="bf16-mixed",
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[callback], default_root_dir=folder, deterministic=True, gradient_clip_val=1.0,
        )  # fmt: skip
        trainer.fit(module, data)
        return digest(module)

    with tempfile.TemporaryDirectory() as folder:
        bare, watched = (train(Path(folder) / str(probed), probed=probed) for probed in (False, True))
    assert bare == watched, "probes changed the training"
    return "Lightning, bf16-mixed: the same weights to the bit"


def agrees_with_the_cpu(device: torch.device) -> str:
    """In float32, document by document; choices with their shared rows and masks too."""
    model = llama(hidden_size=256, num_hidden_layers=4).eval()
    there, here = [], []
    for found, where in ((here, torch.device("cpu")), (there, device)):
        model.to(where)
        for probe in probes():
            result = probe(model)
            found += [scores.nats for _, scores in sorted(result.scores.items())]
    worst = max(float(np.abs(a - b).max()) for a, b in zip(here, there, strict=True))
    assert worst < 1e-3, f"{worst:.2g} nats apart"
    return f"a document is at most {worst:.1e} nats from the CPU"


def knows_a_uniform_model(device: torch.device) -> str:
    class Uniform(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, device=device, dtype=torch.bfloat16))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.weight.expand(*ids.shape, VOCABULARY)

    (heldout, _) = probes()
    found = heldout(Uniform())["heldout/even/perplexity"]
    assert abs(found / VOCABULARY - 1) < 1e-12, found
    return f"perplexity {found:.10g} of a uniform model over {VOCABULARY} tokens"


def speed_and_memory(device: torch.device) -> str:
    """Of a model of 0.4 B parameters in bf16, beside the bare forward pass on the same batches."""
    if device.type != "cuda":
        return "only on a GPU"
    sizes = {
        "vocab_size": 49152, "hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 2816,
        "num_attention_heads": 16, "max_position_embeddings": 2048,
    }  # fmt: skip
    model = llama(**sizes).to(device, torch.bfloat16).eval()
    said = []
    for batch_tokens, rows in ((4096, 96), (32768, 96), (32768, 384)):
        ids = torch.randint(0, 49152, (rows, 2049))
        probe = PerplexityProbe({"random": ids}, context_length=2048, batch_tokens=batch_tokens)
        batches = ids[:, :-1].split(batch_tokens // 2048)

        def bare(batches: Any = batches) -> None:
            with torch.no_grad():
                for batch in batches:
                    model(input_ids=batch.to(device), use_cache=False)
            torch.cuda.synchronize()

        jobs = {"bare": bare, "probe": lambda probe=probe: probe(model)}
        took: dict[str, list[float]] = {name: [] for name in jobs}
        peaks = {}
        for turn in range(4):
            for name, job in jobs.items():
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                began = time.perf_counter()
                job()
                if turn:
                    took[name].append(time.perf_counter() - began)
                peaks[name] = torch.cuda.max_memory_allocated() - before
        ratios = sorted(a / b for a, b in zip(took["bare"], took["probe"], strict=True))
        rate = ids.shape[0] * 2048 / statistics.median(took["probe"])
        said.append(
            f"{rows} rows, {batch_tokens} tokens a batch: {statistics.median(ratios):.2f} "
            f"[{ratios[0]:.2f}, {ratios[-1]:.2f}] of the bare forward pass ({rate:,.0f} tokens/s), "
            f"{peaks['probe'] / peaks['bare']:.2f} of its memory"
        )
    return "; ".join(said)


def survives_the_end_of_memory(device: torch.device) -> str:
    if device.type != "cuda":
        return "only on a GPU"
    model = llama(vocab_size=49152, hidden_size=512, num_hidden_layers=4, max_position_embeddings=2048)
    model = model.to(device).eval()
    ids = torch.randint(0, 49152, (32, 2049))
    easy = PerplexityProbe({"random": ids}, context_length=2048, batch_tokens=4096)(model)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    said = _Said()
    logging.getLogger("pretrain_monitor").addHandler(said)
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1.2e9) / total)
    try:
        tight = PerplexityProbe({"random": ids}, context_length=2048, batch_tokens=65536)(model)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        logging.getLogger("pretrain_monitor").removeHandler(said)
    apart = abs(tight["heldout/random/loss"] - easy["heldout/random/loss"])
    assert said.lines, "memory did not run out"
    assert apart < 1e-4, apart
    return f"out of memory {len(said.lines)} times, then {apart:.1e} nats a token from small batches"


class _Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def ranks(how: str, processes: int) -> Callable[[], str]:
    """Real processes: one with NCCL, two with gloo that share the GPU, which NCCL does not allow."""

    def check() -> str:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = subprocess.run(
            [*command, "-m", "benchmarks.gpu", "--rank", how], cwd=ROOT, capture_output=True, text=True,
            timeout=180, check=False,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise AssertionError(done.stderr.strip()[-1500:])
        found = json.loads(lines[-1])
        assert found["bare"] == found["watched"], "probes changed the training"
        assert found["rounds"] >= 4, found
        return f"{processes} x {found['backend']}: the same weights to the bit, {found['apart']:.1e} from one process"

    return check


def rank(how: str, device: torch.device) -> None:
    backend = "nccl" if how.startswith("nccl") else "cpu:gloo,cuda:gloo" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend)
    found: dict[str, Any] = {"backend": backend}
    for probed in (False, True):
        model = llama().to(device)
        alone = probes()[0](llama().to(device))["heldout/even/loss"] if probed else 0.0
        wrapped: Any
        if how.endswith("fsdp2"):
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            mesh = init_device_mesh(device.type, (dist.get_world_size(),))
            for layer in model.model.layers:
                fully_shard(layer, mesh=mesh)
            wrapped = fully_shard(model, mesh=mesh)
        else:
            wrapped = torch.nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.AdamW(wrapped.parameters(), lr=1e-3)
        torch.manual_seed(dist.get_rank())
        with tempfile.TemporaryDirectory() as folder:
            settings = {**QUIET, "probes": EVERY_10}
            monitor = LoopMonitor(folder, settings, probes=probes() if probed else [], model=wrapped)
            for _ in range(40):
                ids = torch.randint(0, VOCABULARY, (4, 64), device=device)
                logits = wrapped(input_ids=ids, use_cache=False).logits
                loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                monitor.step(loss=loss, optimizer=optimizer)
            monitor.close()
            if probed and dist.get_rank() == 0:
                lines = [json.loads(line) for line in (Path(folder) / "run.jsonl").read_text().splitlines()]
                metrics = [line.get("metrics", {}) for line in lines]
                values = [named["heldout/even/loss"] for named in metrics if "heldout/even/loss" in named]
                found |= {"rounds": len(values), "apart": abs(values[0] - alone)}
        found["watched" if probed else "bare"] = digest(wrapped)
    if dist.get_rank() == 0:
        print(json.dumps(found), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="names, as printed, instead of all")
    parser.add_argument("--rank", metavar="HOW", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pretrain_monitor").setLevel(logging.WARNING)
    device = torch.device(asked.device if asked.rank is None or torch.cuda.is_available() else "cpu")
    torch.use_deterministic_algorithms(True, warn_only=True)
    if asked.rank is not None:
        rank(asked.rank, device)
        return 0
    on_device = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_device else "CPU"
    print(f"torch {torch.__version__}, {name}", flush=True)
    checks: dict[str, Callable[[], str]] = {
        "waiting": (lambda: never_waits(device)) if on_device else (lambda: "only on a GPU"),
        "loop": is_neutral(device),
        "loop, bf16": is_neutral(device, bf16=True),
        "loop, compiled": is_neutral(device, is_compiled=True, dropout=0.0),
        "trainer": lambda: trainer_is_neutral(device),
        "lightning": lambda: lightning_is_neutral(device),
        "agreement": lambda: agrees_with_the_cpu(device),
        "uniform": lambda: knows_a_uniform_model(device),
        "speed": lambda: speed_and_memory(device),
        "memory": lambda: survives_the_end_of_memory(device),
        "ddp": ranks("nccl-ddp" if on_device else "gloo-ddp", 1),
        "fsdp2": ranks("nccl-fsdp2" if on_device else "gloo-fsdp2", 1),
        "ddp of two": ranks("gloo-ddp", 2),
    }
    if unknown := set(asked.only or ()) - set(checks):
        parser.error(f"no check {', '.join(sorted(unknown))}; there are: {', '.join(checks)}")
    failed = 0
    for what in asked.only or checks:
        check = checks[what]
        # It would fill all memory that is about to be written.
        torch.use_deterministic_algorithms(what != "speed", warn_only=True)
        began = time.perf_counter()
        try:
            said, verdict = check(), "ok"
        except Exception as error:
            said, verdict = f"{type(error).__name__}: {str(error)[-1500:]}", "FAILED"
            failed += 1
        print(f"{verdict:6} {what:15} {said} ({time.perf_counter() - began:.0f} s)", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
