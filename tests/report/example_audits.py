"""Audits made by hand: none of them was computed, each is as complete as a real one."""

from __future__ import annotations

import numpy as np

from pretrain_monitor.audit.model import Area, Audit, Curve, Finding, Need, Place, RunFacts, Table, Verdict
from pretrain_monitor.telemetry import Incident, Kind, Severity, Status

LAST_STEP = 40_000
RUN = RunFacts(
    name="pile-1b",
    path="runs/pile-1b",
    source="run log",
    samples=LAST_STEP,
    first_step=1,
    last_step=LAST_STEP,
    interval=1.0,
    tokens_seen=83_886_080_000,
    sessions=3,
    began=1_793_500_000.0,
    ended=1_793_900_000.0,
    end_reason="finished",
    final_loss=2.4131,
    notes=["resumed after step 12,000: 340 superseded steps are left out", "grad_norm is missing in 12 steps"],
)
OTHER = RunFacts(
    name="pile-1b-seed2",
    path="runs/pile-1b-seed2",
    source="TensorBoard event files",
    samples=20_000,
    first_step=2,
    last_step=40_000,
    interval=2.0,
    tokens_seen=83_886_080_000,
    final_loss=2.4027,
)


def incident(
    step: int,
    kind: Kind = Kind.SPIKE,
    severity: Severity = Severity.WARNING,
    status: Status = Status.RECOVERED,
    message: str = "",
    advice: str = "",
    lasted: int = 40,
) -> Incident:
    said = f"loss rose from 2.511 to 3.204 (+28 %, 14 sd) at step {step:,}; back to trend after {lasted} steps"
    return Incident(
        id=f"{kind}-{step}",
        kind=kind,
        severity=severity,
        status=status,
        signals=("loss", "grad_norm"),
        onset_step=step,
        detected_step=step + 2,
        peak_step=step + 3,
        end_step=step + lasted if status is Status.RECOVERED else None,
        expected=2.511,
        peak=3.204,
        score=14.0,
        relative_increase=0.28,
        excess_loss=11.3,
        evidence={"duration_steps": lasted},
        message=message or said,
        advice=advice or "Keep a checkpoint from before the onset. If spikes repeat, lower the learning rate.",
    )


INCIDENTS = [
    incident(3120, Kind.BAD_BATCH, Severity.INFO, message="loss rose from 3.102 to 4.010 (+29 %) at step 3,120"),
    incident(8120),
    incident(
        31_000,
        Kind.LEVEL_SHIFT,
        Severity.CRITICAL,
        Status.PERSISTENT,
        "loss rose from 2.431 to 2.502 (+2.9 %, 11 sd) at step 31,000; it has not come back after 9,000 steps",
        "Ask what changed at the onset: data stage, sequence length, batch size, a restart.",
        lasted=9000,
    ),
]

FINDINGS = [
    Finding(
        check="evidence/steps_covered",
        area=Area.EVIDENCE,
        title="Steps covered by the log",
        value=99.97,
        unit="%",
        bound="at_least",
        limit=98.0,
        need=Need.REQUIRED,
        passed=True,
        summary="39,988 of 40,000 steps have a loss.",
    ),
    Finding(
        check="stability/lingering_damage",
        area=Area.STABILITY,
        title="Lingering damage",
        value=0.0711,
        unit="nats per token",
        limit=0.02,
        need=Need.REQUIRED,
        passed=False,
        summary="Since step 31,000 the loss lies 0.0711 nats above the trend before, and it does not come back.",
        evidence=["Level before 2.431, level after 2.502.", "9,000 steps, 23 % of the run, lie after it."],
        table=Table(
            titles=["incident", "onset", "level before", "level after", "difference"],
            rows=[
                ["spike", "8,120", "2.511", "2.511", "+0.0003"],
                ["level shift", "31,000", "2.431", "2.502", "+0.0711"],
            ],
            marked=[1],
        ),
        places=[
            Place(signal="loss", first_step=30_500, last_step=33_000, note="a step up that stays"),
            Place(signal="grad_norm", first_step=30_900, last_step=31_200),
        ],
        advice="Go back to the checkpoint of step 30,000 and ask what changed in the data there.",
    ),
    Finding(
        check="stability/spike_score",
        area=Area.STABILITY,
        title="Spike score",
        value=0.06,
        unit="%",
        limit=0.1,
        need=Need.ADVISED,
        passed=True,
        summary="24 of 40,000 losses lie more than 7 sd off the last 1,000.",
    ),
    Finding(
        check="stability/excess_loss",
        area=Area.STABILITY,
        title="Excess loss of all incidents",
        value=651.2,
        unit="nats x steps",
        summary="All but 11 of it is from the level shift.",
    ),
    Finding(
        check="schedule/decay_reached",
        area=Area.SCHEDULE,
        title="Decay of the learning rate",
        value=0.1,
        bound="at_most",
        limit=0.1,
        need=Need.ADVISED,
        passed=True,
        summary="It ends at a tenth of its peak, 3.0e-04.",
    ),
    Finding(
        check="schedule/restarts",
        area=Area.SCHEDULE,
        title="Restarts of the schedule after a resume",
        value=1.0,
        limit=0.0,
        need=Need.ADVISED,
        passed=False,
        summary="At step 12,001 the schedule started again: 2.8e-04 became 1.0e-06.",
        places=[Place(signal="learning_rate", first_step=11_900, last_step=14_000)],
        advice="Restore the scheduler together with the optimizer.",
    ),
    Finding(
        check="gradients/late_growth",
        area=Area.GRADIENTS,
        title="Growth of the gradient norm at the end",
        value=1.31,
        limit=1.2,
        passed=False,
        summary="Over the last tenth its median is 1.31 times that of the tenth before.",
    ),
    Finding(
        check="held_out/forgotten",
        area=Area.HELD_OUT,
        title="Forgotten domains",
        value=3.1,
        unit="%",
        limit=5.0,
        need=Need.REQUIRED,
        passed=True,
        summary="The worst is law, 3.1 % above its best.",
        table=Table(
            titles=["domain", "bits per byte, 95 %", "pile-1b-seed2", "difference"],
            rows=[
                ["law", "0.812 (0.804 to 0.820)", "0.791", "+0.021"],
                ["code", "0.611 (0.602 to 0.620)", "0.609", "+0.002"],
            ],
        ),
    ),
    Finding(
        check="knowledge/above_chance",
        area=Area.KNOWLEDGE,
        title="Suites above chance",
        value=75.0,
        unit="%",
        bound="at_least",
        limit=50.0,
        need=Need.ADVISED,
        passed=True,
        summary="3 of 4 suites are above chance.",
    ),
    Finding(
        check="tokenization/unknown_share",
        area=Area.TOKENIZATION,
        title="Unknown tokens",
        value=None,
        unit="%",
        limit=0.1,
        need=Need.REQUIRED,
        missing="no tokenizer was given, and the log has no tokenization probe",
        advice="Run the audit with --model DIR.",
    ),
    Finding(
        check="coverage/no_better_than_compressor",
        area=Area.COVERAGE,
        title="Domains no better than a compressor",
        value=0.0,
        limit=0.0,
        need=Need.ADVISED,
        passed=True,
        summary="All 4 domains need fewer bits per byte than xz does.",
    ),
    Finding(
        check="data/same_step_elsewhere",
        area=Area.DATA,
        title="Incidents at the same step of the other run",
        value=1.0,
        summary="The spike at step 8,120 is in both runs, so the data cause it.",
        table=Table(titles=["step", "pile-1b", "pile-1b-seed2"], rows=[["8,120", "spike, +28 %", "spike, +31 %"]]),
    ),
]


def full_audit(points: int = 2000) -> Audit:
    """Every area, every state, three incidents, another run beside it, eight curves."""
    return Audit(
        run=RUN,
        against=OTHER,
        criteria="production",
        verdict=Verdict.NOT_READY,
        reasons=[
            "Lingering damage is 0.0711 nats per token, at most 0.02 is allowed: since step 31,000 the loss lies above "
            "the trend before.",
            "Unknown tokens are not known: no tokenizer was given, and the log has no tokenization probe.",
            "Restarts of the schedule after a resume: 1, none is advised.",
        ],
        next_steps=[
            "Go back to the checkpoint of step 30,000 and ask what changed in the data there.",
            "Run the audit with --model DIR.",
            "Restore the scheduler together with the optimizer.",
        ],
        findings=FINDINGS,
        incidents=[one.to_json() for one in INCIDENTS],
        method=[
            "Spike score: share of losses more than 7 standard deviations off the 1,000 before (OLMo 2, 2025).",
            "Lingering damage: median of the residual against the trend before the onset, over what follows.",
        ],
        versions={"pretrain_monitor": "0.1.0", "python": "3.11.2", "numpy": "2.4.6"},
        made="2026-11-27 12:00 UTC",
        curves=curves(points),
    )


def small_audit() -> Audit:
    """One finding of each kind of news, one incident, and no other run."""
    kept = ("stability/lingering_damage", "tokenization/unknown_share", "evidence/steps_covered")
    return full_audit(2).model_copy(
        update={
            "against": None,
            "findings": [one for one in FINDINGS if one.check in kept],
            "incidents": [INCIDENTS[2].to_json()],
            "reasons": ["Lingering damage is 0.0711 nats per token, at most 0.02 is allowed."],
            "curves": [],
        }
    )


def crowded_audit() -> Audit:
    """40 findings and 60 incidents with long texts and names, on a full set of curves."""
    long = "heldout/" + "a-domain-with-a-very-long-name-" * 4 + "/bits_per_byte"
    sentence = "This says at some length what was measured, over which steps, and what it was held against. " * 3
    findings = [
        Finding(
            check=f"{area}/check_{i}",
            area=area,
            title=f"Check number {i} of {words}",
            value=None if i % 5 == 4 else 0.01 * i,
            limit=0.2,
            need=list(Need)[i % 3],
            passed=None if i % 5 == 4 else i <= 20,
            summary="" if i % 5 == 4 else sentence,
            missing=sentence if i % 5 == 4 else "",
            evidence=[sentence, f"{long} is where it shows."] if i > 20 else [],
            places=[Place(signal=long, first_step=100 * i, last_step=100 * i + 50, note="here")] if i > 20 else [],
            advice=sentence if i > 20 else "",
        )
        for i, (area, words) in enumerate(
            (area, f"{area} with a long title that has to be wrapped somewhere" if i % 4 else long)
            for i, area in enumerate(sorted(list(Area) * 5)[:40])
        )
    ]
    severities = [Severity.INFO, Severity.WARNING, Severity.INFO, Severity.CRITICAL]
    incidents = [
        incident(600 * i + 100, list(Kind)[i % len(Kind)], severities[i % 4], list(Status)[1 + i % 2])
        for i in range(60)
    ]
    failed = [one for one in findings if one.passed is False and one.need is not Need.SHOWN]
    return full_audit().model_copy(
        update={
            "run": RUN.model_copy(update={"name": "a-run-name-that-somebody-made-from-all-hyperparameters-" * 3}),
            "findings": findings,
            "incidents": [one.to_json() for one in incidents],
            "reasons": [f"{one.title}: {one.summary}" for one in failed],
            "next_steps": [one.advice for one in failed][:8],
        }
    )


HOSTILE = "</script><img src=x onerror=alert(1)>'\"&amp;{{7*7}}\x1b[31m"


def hostile_audit() -> Audit:
    """Every text that may come from a run is markup."""
    finding = FINDINGS[1].model_copy(
        update={
            "check": HOSTILE,
            "title": HOSTILE,
            "summary": HOSTILE,
            "evidence": [HOSTILE],
            "advice": HOSTILE,
            "unit": HOSTILE,
            "table": Table(titles=[HOSTILE], rows=[[HOSTILE]], marked=[0]),
            "places": [Place(signal=HOSTILE, first_step=1, last_step=2, note=HOSTILE)],
        }
    )
    facts = {"name": HOSTILE, "path": HOSTILE, "source": HOSTILE, "end_reason": HOSTILE, "notes": [HOSTILE]}
    return full_audit(50).model_copy(
        update={
            "run": RUN.model_copy(update=facts),
            "against": OTHER.model_copy(update=facts),
            "criteria": HOSTILE,
            "reasons": [HOSTILE],
            "next_steps": [HOSTILE],
            "findings": [finding],
            "incidents": [incident(100, message=HOSTILE, advice=HOSTILE).to_json() | {"id": HOSTILE}],
            "method": [HOSTILE],
            "versions": {HOSTILE: HOSTILE},
            "made": HOSTILE,
            "curves": [Curve(signal=HOSTILE, group="other", unit=HOSTILE, steps=[1, 2, 3], values=[1.0, None, 2.0])],
        }
    )


def curves(points: int) -> list[Curve]:
    """Eight, with bands where a probe would give them."""
    rng = np.random.default_rng(0)
    steps = np.unique(np.linspace(1, LAST_STEP, points).astype(int))
    trend = 2.2 + 9.0 * (steps + 20.0) ** -0.35
    loss = trend + 0.02 * rng.standard_normal(len(steps)) + 0.0711 * (steps >= 31_000)
    loss += 0.7 * np.exp(-np.clip(steps - 8120, 0, None) / 20) * (steps >= 8120)
    warm_up = np.minimum(steps / 2000, 1.0)
    rate = 3e-4 * warm_up * (0.55 + 0.45 * np.cos(np.pi * steps / LAST_STEP))
    norm = 0.3 + 2.0 * np.exp(-steps / 800) + 0.05 * np.abs(rng.standard_normal(len(steps)))
    made = [
        curve("loss", "loss", steps, loss, unit="nats per token", hole=len(steps) // 2),
        curve("loss, trend before the onset", "loss", steps, trend, unit="nats per token", dashed=True),
        curve("grad_norm", "grad_norm", steps, norm),
        curve("learning_rate", "learning_rate", steps, rate),
    ]
    for name, level in (("law", 0.78), ("code", 0.6), ("recipes", 0.9)):
        bits = level * (1 + 3.0 * (steps + 20.0) ** -0.35) + 0.003 * rng.standard_normal(len(steps))
        made.append(curve(f"heldout/{name}/bits_per_byte", "held_out", steps, bits, unit="bits per byte", half=0.008))
    accuracy = 0.25 + 0.3 * steps / LAST_STEP + 0.01 * rng.standard_normal(len(steps))
    return [*made, curve("task/arc_easy/accuracy", "knowledge", steps, accuracy, half=0.03, chance=0.25)]


def curve(
    signal: str,
    group: str,
    steps: np.ndarray,
    values: np.ndarray,
    *,
    unit: str = "",
    half: float = 0.0,
    dashed: bool = False,
    chance: float | None = None,
    hole: int | None = None,
) -> Curve:
    """``hole`` is the place of a value that was NaN; ``half`` the half width of its band."""
    found: list[float | None] = [float(value) for value in values]
    if hole is not None:
        found[hole] = None
    return Curve(
        signal=signal,
        group=group,
        unit=unit,
        steps=[int(step) for step in steps],
        values=found,
        lower=[float(value - half) for value in values] if half else [],
        upper=[float(value + half) for value in values] if half else [],
        dashed=dashed,
        chance=chance,
    )
