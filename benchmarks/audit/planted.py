"""Defects by formula: each a healthy run with one thing wrong, and the checks that should say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .probed import SOUND_TOKENIZER, Probed
from .shapes import Training, correlated, training
from .written import write_run

STEPS = 6000


@dataclass(frozen=True)
class Planted:
    """One run with one defect.

    Args:
        checks: of which any finds it by the right name.
        write: makes the run in a directory; returns the other run that it is to be held against, or None.
    """

    name: str
    checks: tuple[str, ...]
    write: Callable[[Path], Path | None]


def _formula(
    name: str,
    checks: tuple[str, ...],
    change: Callable[[Training, np.random.Generator], None] | None = None,
    *,
    steps: int = STEPS,
    schedule: str = "cosine",
    probed: Probed | None = None,
    seed: int,
    warm_up: int | None = None,
) -> Planted:
    def write(path: Path) -> None:
        run = training(steps, seed=seed, schedule=schedule, warm_up=warm_up)
        if change is not None:
            change(run, np.random.default_rng((seed, 1)))
        write_run(path, run, probed if probed is not None else Probed(), seed)

    return Planted(name, checks, write)


def _no_warm_up(run: Training, rng: np.random.Generator) -> None:
    """Full rate from the first step: gradients of thirty times their size for a hundred steps, a loss that jumps."""
    length = 120
    run.grad_norm[:length] = 9.0 * np.exp(0.5 * correlated(rng, length, 0.5)) * np.linspace(1, 0.4, length)
    run.loss[5:length] = (
        run.loss[5] * (1 + 0.25 * np.exp(-np.arange(length - 5) / 40)) * np.exp(0.05 * correlated(rng, length - 5, 0.6))
    )


def _jump(run: Training, rng: np.random.Generator) -> None:
    run.learning_rate[3100:3400] *= 3.0
    run.loss[3100:3400] *= 1 + 0.02 * (1 - np.exp(-np.arange(300) / 60))


def _restart(run: Training, rng: np.random.Generator) -> None:
    """Resumed without its scheduler: the schedule begins once more."""
    run.sessions = (3500,)
    run.learning_rate[3500:] = run.learning_rate[: STEPS - 3500]


def _not_decayed(run: Training, rng: np.random.Generator) -> None:
    run.learning_rate[60:] = run.learning_rate.max()


def _stalled(run: Training, rng: np.random.Generator) -> None:
    """From a third of the run on nothing is learned any more, at half of the peak rate."""
    start = 2000
    level = float(np.median(run.loss[start - 100 : start]))
    run.loss[start:] = level * np.exp(run.noise * correlated(rng, STEPS - start, 0.25))
    run.learning_rate[start:] = run.learning_rate[start]


def _unrecovered(run: Training, rng: np.random.Generator) -> None:
    """A spike that comes down again and stays three percent above where it was."""
    run.loss[2500:] *= 1.03
    run.loss[2500:2600] *= 1 + 0.8 * np.exp(-np.arange(100) / 25)
    run.grad_norm[2500:2560] *= 8


def _shift(run: Training, rng: np.random.Generator) -> None:
    run.loss[4000:] *= 1.05


def _diverged(run: Training, rng: np.random.Generator) -> None:
    tail = STEPS - 5000
    run.loss[5000:] *= 1 + 0.004 * np.arange(tail) ** 1.1
    run.grad_norm[5000:] *= 1 + 0.02 * np.arange(tail)


def _nan(run: Training, rng: np.random.Generator) -> None:
    run.loss[4200:] = np.nan
    run.grad_norm[4200:] = np.nan


def _spikes(run: Training, rng: np.random.Generator) -> None:
    """One step in sixty, some twelve standard deviations high."""
    at = rng.choice(np.arange(500, STEPS), STEPS // 60, replace=False)
    run.loss[at] *= 1 + rng.uniform(0.12, 0.3, len(at))


def _often_unstable(run: Training, rng: np.random.Generator) -> None:
    """Twelve instabilities of sixty steps, each healed."""
    for start in range(700, STEPS - 200, 450):
        run.loss[start : start + 75] *= 1 + 0.5 * np.exp(-np.arange(75) / 22)
        run.grad_norm[start : start + 75] *= 1 + 5 * np.exp(-np.arange(75) / 22)


def _noise(run: Training, rng: np.random.Generator) -> None:
    late = STEPS - 4500
    run.loss[4500:] *= np.exp(3.5 * run.noise * correlated(rng, late, 0.25) * np.linspace(0.3, 1, late))


def _clipped(run: Training, rng: np.random.Generator) -> None:
    run.max_grad_norm = 0.3


def _growing(run: Training, rng: np.random.Generator) -> None:
    run.grad_norm[3000:] *= np.exp(np.linspace(0, np.log(7), STEPS - 3000))


def _no_norm(run: Training, rng: np.random.Generator) -> None:
    run.logged = ("loss", "learning_rate")


def _sparse(run: Training, rng: np.random.Generator) -> None:
    run.every = 50


def _killed(run: Training, rng: np.random.Generator) -> None:
    run.end = None


def _crashed(run: Training, rng: np.random.Generator) -> None:
    run.end = "crashed: OutOfMemoryError"


def _overfitting(run: Training, rng: np.random.Generator) -> None:
    """Its data go round: the training loss falls, held-out text does not follow."""
    run.loss[2000:] *= np.exp(-0.35 * np.linspace(0, 1, STEPS - 2000))


def _bad_batches(run: Training, rng: np.random.Generator) -> None:
    """One in three hundred steps is half rubbish."""
    at = rng.choice(np.arange(600, STEPS), STEPS // 300, replace=False)
    run.loss[at] *= 1 + rng.uniform(0.35, 0.6, len(at))
    run.grad_norm[at] *= rng.uniform(1.5, 3, len(at))


def _rising_again(domain: str, step: int) -> float:
    return 1 + 0.12 * max(step - 3600, 0) / 2400 if domain == "novels" else 1.0


def _forgotten(domain: str, step: int) -> float:
    return 1 + 0.12 * (1 - np.exp(-max(step - 3500, 0) / 500)) if domain == "law" else 1.0


def _leaked(domain: str, step: int) -> float:
    return 0.72 if domain == "news" and step >= 3900 else 1.0


def _not_learned(domain: str, step: int) -> float:
    return 2.6 if domain == "maths" else 1.0


def _behind(domain: str, step: int) -> float:
    return 2.1 if domain == "news" else 1.0


def _unlearnable(task: str, step: int) -> float:
    return 0.0 if task == "reasoning/piqa" else 1.0


def _outrun(domain: str, step: int) -> float:
    return float(np.exp(0.33 * max(step - 2000, 0) / (STEPS - 2000)))


def _with_tokenizer(**changed: dict[str, float]) -> Probed:
    return Probed(tokenizer={name: {**facts, **changed.get(name, {})} for name, facts in SOUND_TOKENIZER.items()})


def _same_data(path: Path) -> Path:
    """Two seeds of one model on the same batches, four of them rubbish."""
    other = path.with_name(f"{path.name}-other")
    for number, place in enumerate((path, other)):
        run = training(STEPS, seed=80 + number)
        rng = np.random.default_rng((80, number))
        for at in (1200, 2600, 3900, 5100):
            run.loss[at] *= 1.45 + 0.1 * rng.random()
            run.grad_norm[at] *= 2.5
        write_run(place, run, Probed(), 80 + number)
    return other


def by_formula() -> list[Planted]:
    """Every defect by formula."""
    return [
        _formula("lost warm-up", ("schedule/warmup",), _no_warm_up, seed=1, warm_up=1),
        _formula("learning rate jumps", ("schedule/jumps",), _jump, seed=2),
        _formula("schedule restarted on resume", ("schedule/restarts",), _restart, seed=3),
        _formula("rate never decayed", ("schedule/decay",), _not_decayed, seed=4),
        _formula("stalled from a third on", ("stability/still_learning",), _stalled, seed=5),
        _formula("spike that left 3 %", ("stability/lingering_damage",), _unrecovered, seed=6),
        _formula("lasting shift of 5 %", ("stability/incidents", "stability/lingering_damage"), _shift, seed=7),
        _formula("diverged at the end", ("stability/incidents",), _diverged, seed=8),
        _formula("NaN", ("stability/nonfinite",), _nan, seed=9),
        _formula("spikes everywhere", ("stability/spike_score",), _spikes, seed=10),
        _formula(
            "unstable again and again",
            ("stability/time_in_incidents", "stability/excess_loss"),
            _often_unstable,
            seed=11,
        ),
        _formula("noise grows", ("stability/noise_trend",), _noise, seed=12),
        _formula("nearly all steps clipped", ("gradients/clipped",), _clipped, seed=13),
        _formula("gradient norm grows sevenfold", ("gradients/late_growth",), _growing, seed=14),
        _formula("gradient norm never logged", ("evidence/telemetry",), _no_norm, seed=15),
        _formula("one step in fifty logged", ("evidence/telemetry",), _sparse, seed=16),
        _formula("killed", ("evidence/ended",), _killed, seed=17),
        _formula("crashed", ("evidence/ended",), _crashed, seed=18),
        _formula("overfitting", ("held_out/gap",), _overfitting, probed=Probed(effect=_outrun), seed=19),
        _formula(
            "a domain rises at the end",
            ("held_out/trend", "knowledge/retention"),
            probed=Probed(effect=_rising_again),
            seed=20,
        ),
        _formula("a domain forgotten", ("knowledge/retention",), probed=Probed(effect=_forgotten), seed=21),
        _formula("held-out text leaked", ("held_out/contamination",), probed=Probed(effect=_leaked), seed=22),
        _formula("a domain not learned", ("coverage/compressor",), probed=Probed(effect=_not_learned), seed=23),
        _formula("a domain far behind", ("coverage/behind",), probed=Probed(effect=_behind), seed=24),
        _formula("a task at chance", ("knowledge/chance",), probed=Probed(task_effect=_unlearnable), seed=25),
        _formula(
            "tokenizer too short for code",
            ("tokenization/efficiency",),
            probed=_with_tokenizer(code={"bytes_per_token": 1.3, "fertility": 5.8}),
            seed=26,
        ),
        _formula(
            "tokenizer without the letters",
            ("tokenization/unknown",),
            probed=_with_tokenizer(news={"unknown_share": 0.06}),
            seed=27,
        ),
        _formula("many bad batches", ("data/bad_batches",), _bad_batches, seed=28),
        Planted("the data did it", ("data/same_step",), _same_data),
    ]
