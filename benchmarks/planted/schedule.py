"""Runs whose learning rate, gradients or log are not as they should be."""

from __future__ import annotations

import numpy as np

from .cases import Case
from .ordinary import Generated, ordinary, with_probes
from .runs import Course, Session
from .shapes import bump, learning_rate, ramp
from .trained import Training


def warm_up_lost(seed: int) -> Generated:
    course = ordinary(seed, 4000, warm_up=0, peak=2e-3)
    course.lasting = bump(course.steps, 2, 1.6, rise=5, decay=60) * (1 + 0.3 * np.sin(np.arange(course.steps) / 3))
    course.norm *= np.exp(bump(course.steps, 1, 2.6, rise=4, decay=40))
    return with_probes(course, seed)


def warm_up_lost_in_training(seed: int) -> Training:
    return Training(seed, rate=3e-2, warm_up=0)


def rate_jumps(seed: int) -> Generated:
    course = ordinary(seed)
    course.rate[3000:] *= 3.0
    course.lasting = bump(course.steps, 3001, 0.1, rise=40, decay=500)
    course.norm[3000:] *= 1.3
    return with_probes(course, seed)


def schedule_restarts(seed: int) -> Generated:
    course = ordinary(seed)
    _resume(course, 3600)
    again = learning_rate("cosine", course.steps, 300, float(course.rate.max()))
    course.rate[3600:] = again[: course.steps - 3600]
    course.lasting = bump(course.steps, 3700, 0.16, rise=200, decay=900)
    return with_probes(course, seed)


def schedule_restarts_in_training(seed: int) -> Training:
    return Training(seed, resumes_at=240, restarts_rate=True)


def never_decayed(seed: int) -> Generated:
    return with_probes(ordinary(seed, schedule="constant"), seed)


def ended_early(seed: int) -> Generated:
    whole = ordinary(seed, 10_000)
    cut = {name: getattr(whole, name)[:4500] for name in ("level", "noise", "norm", "rate", "added", "lasting")}
    return with_probes(Course(**cut), seed)


def always_clipped(seed: int) -> Generated:
    course = ordinary(seed)
    course.norm *= 9.0
    return with_probes(course, seed)


def norm_grows_late(seed: int) -> Generated:
    course = ordinary(seed)
    course.norm *= np.exp(ramp(course.steps, 3400, course.steps, np.log(8)))
    course.max_grad_norm = None
    return with_probes(course, seed)


def no_gradient_norm(seed: int) -> Generated:
    course = ordinary(seed)
    course.never_logged = frozenset({"grad_norm"})
    return with_probes(course, seed)


def no_learning_rate(seed: int) -> Generated:
    course = ordinary(seed)
    course.never_logged = frozenset({"learning_rate"})
    return with_probes(course, seed)


def most_steps_missing(seed: int) -> Generated:
    course = ordinary(seed)
    course.sessions = (Session(1, 120, "killed"), Session(5881, course.steps))
    return with_probes(course, seed)


def crashed(seed: int) -> Generated:
    course = ordinary(seed)
    course.sessions = (Session(1, 4400, "crashed"),)
    return with_probes(course, seed)


def killed(seed: int) -> Generated:
    course = ordinary(seed)
    course.sessions = (Session(1, 5300, "killed"),)
    return with_probes(course, seed)


def _resume(course: Course, step: int) -> None:
    course.sessions = (Session(1, step, "interrupted"), Session(step + 1, course.steps))


SCHEDULE = (
    Case(warm_up_lost, "no warm-up: loss and norm shoot up in the first steps", ("schedule/warmup",)),
    Case(warm_up_lost_in_training, "real training at 15 times the rate, without warm-up", ("schedule/warmup",)),
    Case(rate_jumps, "learning rate three times what it was from the middle on", ("schedule/jumps",)),
    Case(schedule_restarts, "after a resume the rate warms up and decays again", ("schedule/restarts",)),
    Case(schedule_restarts_in_training, "real training: the same", ("schedule/restarts",)),
    Case(never_decayed, "constant rate to the end", ("schedule/decay",)),
    Case(ended_early, "ends at 45 % of its cosine", ("schedule/decay",)),
    Case(always_clipped, "gradient norm of 3 or more, clipped to 1", ("gradients/clipped",)),
    Case(norm_grows_late, "gradient norm grows to 8 times in the last 43 %", ("gradients/late_growth",)),
    Case(no_gradient_norm, "no gradient norm in the log", ("evidence/telemetry",)),
    Case(no_learning_rate, "no learning rate in the log", ("evidence/telemetry",)),
    Case(most_steps_missing, "96 % of the steps are in no log", ("evidence/telemetry",)),
    Case(crashed, "an exception ends it at 73 %", ("evidence/ended",)),
    Case(killed, "kill -9 ends it at 88 %", ("evidence/ended",)),
)
