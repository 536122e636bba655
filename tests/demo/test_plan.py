import pytest

from pretrain_monitor.demo.plan import BURST_FACTOR, BURST_STEPS, CORRUPTED_BATCHES, FAULTS, PlanError, plan_run


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_comes_after_the_charts_have_started_and_leaves_room_to_see_how_it_ends(fault):
    plan = plan_run(fault)
    if fault == "none":
        assert plan.fault_step is None
        return
    assert plan.fault_step > 600
    assert plan.steps - plan.fault_step >= (50 if fault == "nan" else 260)


def test_the_learning_rate_warms_up_and_decays_without_jumps():
    plan = plan_run("none")
    rates = [plan.learning_rate(step) for step in range(1, plan.steps + 1)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) < 12 * rates[-1]


def test_the_burst_multiplies_the_rate_for_a_few_steps_and_nothing_else():
    burst, healthy = plan_run("lr"), plan_run("none")
    ratios = {step: burst.learning_rate(step) / healthy.learning_rate(step) for step in range(1, burst.steps + 1)}
    raised = [step for step, ratio in ratios.items() if ratio != 1]
    assert raised == list(range(burst.fault_step, burst.fault_step + BURST_STEPS))
    assert [ratios[step] for step in raised] == pytest.approx([BURST_FACTOR] * BURST_STEPS)


def test_each_fault_happens_at_its_own_steps_only():
    for fault in FAULTS:
        plan = plan_run(fault)
        start = plan.fault_step
        steps = range(1, plan.steps + 1)
        corrupted = [step for step in steps if plan.is_corrupted(step)]
        unlabelled = [step for step in steps if plan.is_unlabelled(step)]
        documentation = [step for step in steps if plan.domain(step) == "documentation"]
        assert corrupted == (list(range(start, start + CORRUPTED_BATCHES)) if fault == "batch" else [])
        assert unlabelled == ([start] if fault == "nan" else [])
        assert documentation == (list(range(start, plan.steps + 1)) if fault == "domain" else [])


@pytest.mark.parametrize("fault", ["lr", "batch", "domain"])
def test_the_shortest_run_with_a_fault_is_named_in_the_refusal(fault):
    with pytest.raises(PlanError, match=f"--steps 319 is too short for --fault {fault}") as refusal:
        plan_run(fault, 319)
    assert str(refusal.value).endswith("give at least 320, or --fault none")
    plan = plan_run(fault, 320)
    assert 200 < plan.fault_step < 320


def test_a_nan_fits_into_any_run_of_two_steps_or_more():
    for steps in (2, 3, 40, 5000):
        plan = plan_run("nan", steps)
        assert plan.steps == steps
        assert 1 <= plan.fault_step < steps or steps == 2
    with pytest.raises(PlanError, match="--steps 1 is too short"):
        plan_run("nan", 1)


def test_an_unknown_fault_is_refused_with_the_choices():
    with pytest.raises(PlanError, match='unknown fault "spike"; choose one of lr, batch, nan, domain, none'):
        plan_run("spike")
