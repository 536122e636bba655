"""Each check by construction: what is planted is found with its size, and what is healthy passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from audit_runs import table, watched
from curves import ar1, healthy_run
from probe_rounds import probe_rounds

from pretrain_monitor import Audit, audit_run
from pretrain_monitor.audit.criteria import CHECKS

Run = Mapping[str, np.ndarray]


def healthy(n: int = 3000, *, seed: int = 0, noise: float = 0.01) -> dict[str, np.ndarray]:
    run = healthy_run(n, seed=seed, noise=noise)
    run["learning_rate"] = 3e-4 * np.minimum((np.arange(n) + 1) / 100, 0.525 + 0.475 * np.cos(np.pi * np.arange(n) / n))
    return run


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    path = tmp_path_factory.mktemp("audit") / "sound"
    return audit_run(watched(path, healthy(), probe_rounds(16, seed=3, every=200), max_grad_norm=5.0))


def test_every_audit_has_every_check_once_in_the_order_of_areas(sound: Audit):
    assert [one.check for one in sound.findings] == list(CHECKS)
    assert all((one.value is None) == bool(one.missing) for one in sound.findings)
    assert all(one.summary for one in sound.findings if one.value is not None)


def test_a_healthy_run_fails_nothing(sound: Audit):
    assert [one.check for one in sound.findings if one.passed is False] == []
    assert sound.verdict == "ready with conditions"  # nobody asked for tasks
    assert any("tasks" in reason.lower() for reason in sound.reasons)


def failing(audit: Audit) -> set[str]:
    return {one.check for one in audit.findings if one.passed is False}


def of_table(tmp_path: Path, change: Callable[[dict[str, np.ndarray]], None], n: int = 3000) -> Audit:
    run = healthy(n)
    change(run)
    return audit_run(table(tmp_path / "log.csv", run))


def test_a_shift_that_stays_is_an_incident_and_lasting_damage_of_its_size(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["loss"][1500:] *= 1.06

    audit = of_table(tmp_path, change)
    damage = audit.finding("stability/lingering_damage")
    assert damage.value == pytest.approx(6, abs=1.5) and damage.passed is False
    assert {"stability/incidents", "stability/lingering_damage"} <= failing(audit)
    assert audit.verdict == "not ready" and audit.reasons[0].startswith("Incidents without recovery")


def test_a_spike_that_heals_leaves_no_damage(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["loss"][1500:1515] *= np.linspace(1.5, 1.0, 15)
        run["grad_norm"][1500:1515] *= 5

    audit = of_table(tmp_path, change, 9000)
    assert audit.finding("stability/incidents").summary == "1 alert, all recovered"
    assert failing(audit) == set()
    excess = audit.finding("stability/excess_loss").value
    assert excess is not None and excess > 0


def test_a_nan_that_reached_the_weights(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["loss"][2000:] = np.nan
        run["grad_norm"][2000:] = np.nan

    audit = of_table(tmp_path, change)
    assert "stability/nonfinite" in failing(audit)
    assert audit.finding("stability/nonfinite").places[0].first_step == 2001


def test_spikes_of_single_steps_are_counted_in_percent(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["loss"][200::100] *= 1.5

    audit = of_table(tmp_path, change)
    score = audit.finding("stability/spike_score")
    assert score.value is not None and 0.5 < score.value <= 1.1 and score.passed is False


def test_a_run_that_stops_learning_is_not_still_learning(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["loss"][1200:] = run["loss"][1200:] / (run["loss"][1200:].mean()) * run["loss"][1150:1200].mean()
        rng = np.random.default_rng(5)
        run["loss"][1200:] = run["loss"][1150:1200].mean() * np.exp(0.01 * ar1(rng, 1800, 0.2))

    audit = of_table(tmp_path, change)
    assert "stability/still_learning" in failing(audit)


def test_noise_that_grows(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        rng = np.random.default_rng(6)
        run["loss"][2200:] += 0.1 * rng.standard_normal(800)

    audit = of_table(tmp_path, change)
    noise = audit.finding("stability/noise_trend")
    assert noise.value is not None and noise.value > 3 and noise.passed is False


def test_a_missing_warm_up_counts_where_the_first_gradients_ask_for_it(tmp_path: Path):
    def no_warm_up(run: dict[str, np.ndarray]) -> None:
        n = len(run["loss"])
        run["learning_rate"] = 3e-4 * (0.525 + 0.475 * np.cos(np.pi * np.arange(n) / n))

    def wild(run: dict[str, np.ndarray]) -> None:
        no_warm_up(run)
        run["grad_norm"][:40] = 12.0

    audit = of_table(tmp_path, wild)
    assert "schedule/warmup" in failing(audit)
    assert "no warm-up" in audit.finding("schedule/warmup").summary
    calm = healthy()
    calm["grad_norm"][:100] = 0.5
    no_warm_up(calm)
    assert audit_run(table(tmp_path / "calm.csv", calm)).finding("schedule/warmup").passed is True


def test_a_schedule_that_begins_again_and_one_that_jumps(tmp_path: Path):
    def restart(run: dict[str, np.ndarray]) -> None:
        run["learning_rate"][1500:] = run["learning_rate"][:1500]

    def jump(run: dict[str, np.ndarray]) -> None:
        run["learning_rate"][2000:2010] *= 4

    assert "schedule/restarts" in failing(of_table(tmp_path, restart))
    found = failing(of_table(tmp_path, jump))
    assert "schedule/jumps" in found and "schedule/restarts" not in found


def test_a_rate_that_never_decayed(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["learning_rate"][100:] = 3e-4

    audit = of_table(tmp_path, change)
    assert audit.finding("schedule/decay").value == pytest.approx(100)
    assert "schedule/decay" in failing(audit)
    # A checkpoint that is to be trained on should not have spent its rate.
    assert audit_run(tmp_path / "log.csv", criteria="continue-pretraining").finding("schedule/decay").passed is True


def test_clipped_steps_are_those_above_the_limit(tmp_path: Path):
    run = healthy()
    late = run["grad_norm"][300:]
    limit = float(np.quantile(late, 0.3))
    audit = audit_run(watched(tmp_path / "run", run, max_grad_norm=limit))
    assert audit.finding("gradients/clipped").value == pytest.approx(70, abs=1)
    # Logged after clipping: exactly the limit.
    run["grad_norm"] = np.minimum(run["grad_norm"], limit)
    audit = audit_run(table(tmp_path / "after.csv", run), criteria={"extends": "research", "max_grad_norm": limit})
    assert audit.finding("gradients/clipped").value == pytest.approx(70, abs=1)


def test_a_norm_that_grows_late(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["grad_norm"][2000:] *= np.linspace(1, 6, 1000)

    audit = of_table(tmp_path, change)
    assert "gradients/late_growth" in failing(audit)


def test_signals_that_were_never_logged(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        del run["grad_norm"]

    audit = of_table(tmp_path, change)
    assert audit.finding("evidence/telemetry").summary == "grad_norm never logged"
    assert audit.finding("gradients/late_growth").missing


def test_a_run_that_was_killed_did_not_end(tmp_path: Path):
    audit = audit_run(watched(tmp_path / "killed", healthy(600), reason=None))
    assert audit.finding("evidence/ended").value == 0.0
    assert "without a word" in audit.finding("evidence/ended").summary
    assert (
        audit_run(watched(tmp_path / "crash", healthy(600), reason="crashed: OOM")).finding("evidence/ended").passed
        is False
    )


def test_a_forgotten_domain_is_no_longer_retained(tmp_path: Path):
    rounds = probe_rounds(16, seed=3, every=200, forgets={"heldout/law": (9, 0.1, 1.0)})
    audit = audit_run(watched(tmp_path / "run", healthy(), rounds))
    assert "knowledge/retention" in failing(audit)
    retention = audit.finding("knowledge/retention")
    assert retention.table is not None and retention.table.rows[0][0] == "heldout/law"
    trend = audit.finding("held_out/trend")
    assert trend.value is not None and 4 < trend.value < 16 and trend.passed is False


def test_held_out_text_that_was_trained_on_falls_by_itself(tmp_path: Path):
    rounds = [
        (step, {name: one if name != "heldout/news" or step < 1600 else cheaper(one) for name, one in scores.items()})
        for step, scores in probe_rounds(16, seed=3, every=200)
    ]
    audit = audit_run(watched(tmp_path / "run", healthy(), rounds))
    found = audit.finding("held_out/contamination")
    assert found.passed is False and found.value == pytest.approx(25, abs=4)
    assert found.table is not None and found.table.rows[0][:2] == ["heldout/news", "1,400 to 1,600"]


def cheaper(scores):
    from dataclasses import replace

    return replace(scores, nats=scores.nats * 0.75)


def test_a_training_loss_that_leaves_held_out_text_behind(tmp_path: Path):
    run = healthy()
    run["loss"] = np.full(3000, 3.0) + 0.01 * ar1(np.random.default_rng(4), 3000, 0.2)
    run["loss"][1000:] -= np.linspace(0, 0.8, 2000)
    audit = audit_run(watched(tmp_path / "run", run, probe_rounds(16, seed=3, every=200, is_learning=False)))
    gap = audit.finding("held_out/gap")
    # As a share of a loss that is smaller by then: 2.2 ln(3 / 2.2).
    assert gap.passed is False and gap.value == pytest.approx(0.68, abs=0.1)


def test_tasks_at_chance_and_above_it(tmp_path: Path):
    of_task = {"accuracy_lower": 0.21, "accuracy_upper": 0.31, "chance": 0.25, "questions": 400.0}
    metrics = {
        **{f"task/science/sciq/{name}": value for name, value in {"accuracy": 0.26, **of_task}.items()},
        **{
            f"task/reasoning/piqa/{name}": value
            for name, value in {"accuracy": 0.7, "accuracy_lower": 0.66, "accuracy_upper": 0.74, "chance": 0.5}.items()
        },
    }
    audit = audit_run(watched(tmp_path / "run", healthy(600), more={600: metrics}))
    chance = audit.finding("knowledge/chance")
    assert (chance.value, chance.passed) == (1.0, False) and "sciq" in chance.summary
    assert audit.finding("knowledge/reasoning").value == pytest.approx(40)
    assert audit.finding("knowledge/recall").value == pytest.approx(100 / 75)


def test_a_tokenizer_that_does_not_suit_its_texts(tmp_path: Path):
    metrics = {
        "tokenization/code/bytes_per_token": 1.2, "tokenization/code/unknown_share": 0.0,
        "tokenization/news/bytes_per_token": 4.4, "tokenization/news/unknown_share": 0.08,
        "tokenization/news/against/gpt2": 1.4, "tokenization/bible/parity/finnish": 1.9,
    }  # fmt: skip
    audit = audit_run(watched(tmp_path / "run", healthy(600), more={600: metrics}))
    assert audit.finding("tokenization/efficiency").value == 1.2
    assert audit.finding("tokenization/unknown").value == pytest.approx(8)
    assert audit.finding("tokenization/reference").value == 1.4
    assert audit.finding("tokenization/parity").value == 1.9
    assert {"tokenization/efficiency", "tokenization/unknown", "tokenization/reference"} <= failing(audit)


def test_a_domain_that_was_not_learned(tmp_path: Path):
    metrics = {}
    for name, bits, xz in (("code", 0.9, 2.0), ("news", 1.0, 2.1), ("law", 1.1, 2.4), ("maths", 2.6, 2.2)):
        metrics[f"heldout/{name}/bits_per_byte"] = bits
        metrics[f"heldout/{name}/compressor_bits_per_byte"] = xz
        metrics[f"heldout/{name}/coverage"] = xz / bits
    audit = audit_run(watched(tmp_path / "run", healthy(600), more={600: metrics}))
    assert audit.finding("coverage/compressor").value == pytest.approx(2.2 / 2.6)
    behind = audit.finding("coverage/behind")
    assert behind.passed is False and "maths" in behind.summary


def test_incidents_shared_with_another_run_are_those_of_the_data(tmp_path: Path):
    paths = []
    for seed in (0, 1):
        run = healthy(seed=seed)
        for at in (900, 1400, 2100):
            run["loss"][at] *= 1.4
        paths.append(table(tmp_path / f"{seed}.csv", run))
    audit = audit_run(paths[0], against=paths[1])
    same = audit.finding("data/same_step")
    assert same.value == 3 and audit.against is not None
    assert audit.finding("data/bad_batches").value == pytest.approx(3e4 / 2900)
    assert audit_run(paths[0]).finding("data/same_step").value is None


def test_a_checkpoint_behind_its_predecessor(tmp_path: Path):
    better = watched(tmp_path / "a", healthy(seed=0), probe_rounds(16, seed=3, every=200))
    worse = watched(tmp_path / "b", healthy(seed=1), probe_rounds(8, seed=3, every=200))
    behind = audit_run(worse, against=better).finding("held_out/against")
    ahead = audit_run(better, against=worse).finding("held_out/against")
    assert behind.value is not None and behind.value > 3 and behind.passed is False
    assert ahead.value == 0.0


def test_a_loss_that_stands_still_is_no_training(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["loss"][1500:] = 0.0

    telemetry = of_table(tmp_path, change).finding("evidence/telemetry")
    assert telemetry.passed is False
    assert telemetry.summary == "the loss is exactly 0 for 1,500 samples in a row from step 1,501 on"


def test_one_glitch_does_not_hide_the_spikes_or_make_any(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["loss"][300] = 1e12
        run["loss"][[2000, 2600]] *= 1.5

    score = of_table(tmp_path, change).finding("stability/spike_score")
    assert score.value == pytest.approx(100 * 3 / 2900)


def test_damage_that_cannot_be_measured_is_no_pass(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["loss"][2970:] *= 1.5
        run["grad_norm"][2970:] *= 5

    audit = of_table(tmp_path, change)
    assert audit.finding("stability/incidents").passed is False
    damage = audit.finding("stability/lingering_damage")
    assert damage.value is None and "both sides" in damage.missing


def test_a_run_of_nothing_but_nan_is_audited(tmp_path: Path):
    def change(run: dict[str, np.ndarray]) -> None:
        run["loss"][:] = np.nan

    audit = of_table(tmp_path, change)
    assert audit.verdict == "not ready" and audit.finding("stability/nonfinite").passed is False
