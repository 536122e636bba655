"""What probes found, in the terminal."""

from __future__ import annotations

from pretrain_monitor import Sample, read_run
from pretrain_monitor.probes import PerplexityProbe
from pretrain_monitor.sinks.probe_wording import ProbeCourses
from tests.probes.watched_loops import train
from tests.tiny_models import letters


def a_round(step, metrics, reason="regular", seconds=1.5):
    return Sample(step, metrics, meta={"probes": {"reason": reason, "each": {"heldout": {"seconds": seconds}}}})


def test_a_line_names_every_domain_with_its_change():
    courses = ProbeCourses()
    first = courses.add(a_round(0, {"heldout/code/bits_per_byte": 1.5, "heldout/code/loss": 3.0}, "start"))
    second = courses.add(a_round(500, {"heldout/code/bits_per_byte": 1.25, "task/arc/accuracy": 0.3}, "incident"))
    assert first == "step 0 (baseline, 1.5 s): bits per byte code 1.500"
    assert second == "step 500 (after an incident, 1.5 s): bits per byte code 1.250 (-0.250); accuracy arc 0.300"


def test_other_documents_are_not_compared_with_those_before():
    courses = ProbeCourses()
    for step, bits in ((0, 9.0), (100, 1.0), (200, 3.0), (300, 2.5)):
        sample = a_round(step, {"heldout/code/bits_per_byte": bits})
        sample.meta["retention"] = [{"domain": "heldout/code", "is_first": step in (0, 200)}, "not one"]
        line = courses.add(sample)
        if step == 200:
            assert line.endswith("code 3.000; not the documents, or windows, of the rounds before: code")
    assert line.endswith("code 2.500 (-0.500)")
    assert courses.lines() == ["  code (changed at step 200): first 3.000, best 2.500 at step 300, last 2.500"]


def test_documents_that_a_resumed_run_has_others_of_are_said_to_be_others(tmp_path):
    texts = {"same": ["a text", "another"], "grown": ["a text", "another"], "new": ["one"]}
    lines = []
    for begin, end in ((0, 10), (10, 30)):
        domains = {name: [*given, "more"] if name == "grown" and begin else given for name, given in texts.items()}
        if begin == 0:
            del domains["new"]
        probe = PerplexityProbe(domains, letters, context_length=16)
        train(end, tmp_path, [probe], start_step=begin)
        courses = ProbeCourses()
        lines += [line for sample in read_run(tmp_path) if sample.step > begin and (line := courses.add(sample))]
    _, resumed, later = lines
    assert resumed.endswith("; not the documents, or windows, of the rounds before: grown")
    assert later.count("(-") + later.count("(+") == 3
    assert "the rounds before" not in later
    assert [line.partition(":")[0] for line in courses.lines()] == ["  same", "  grown (changed at step 20)", "  new"]


def test_a_domain_and_a_suite_of_one_name_are_two_courses():
    courses = ProbeCourses()
    for step, bits, accuracy in ((0, 2.0, 0.25), (10, 1.0, 0.5)):
        line = courses.add(a_round(step, {"heldout/law/bits_per_byte": bits, "task/law/accuracy": accuracy}))
    assert line.endswith("bits per byte law 1.000 (-1.000); accuracy law 0.500 (+0.250)")
    assert [line.partition(":")[0] for line in courses.lines()] == ["  heldout/law", "  task/law"]


def test_many_domains_are_counted_and_averages_left_out():
    metrics = {f"heldout/d{n}/bits_per_byte": 1.0 for n in range(9)} | {"heldout/macro/bits_per_byte": 1.0}
    line = ProbeCourses().add(a_round(1, metrics))
    assert line.endswith("d5 1.000 and 3 more")


def test_a_round_with_nothing_to_read_is_no_line():
    assert ProbeCourses().add(a_round(1, {"probe/own/value": 1.0})) is None


def test_the_table_has_first_best_and_last_and_knows_which_way_is_up():
    courses = ProbeCourses()
    for step, bits, accuracy in ((0, 2.0, 0.25), (10, 1.0, 0.5), (20, 1.2, 0.4)):
        metrics = {
            "heldout/code/bits_per_byte": bits,
            "heldout/code/bits_per_byte_se": 0.1,
            "task/arc/accuracy": accuracy,
        }
        courses.add(a_round(step, metrics))
    assert courses.lines() == [
        "  code: first 2.000, best 1.000 at step 10, last 1.200 ± 0.196",
        "  arc: first 0.250, best 0.500 at step 10, last 0.400",
    ]


def test_nan_is_shown_and_is_never_the_best():
    courses = ProbeCourses()
    courses.add(a_round(0, {"heldout/x/bits_per_byte": 2.0}))
    line = courses.add(a_round(1, {"heldout/x/bits_per_byte": float("nan")}))
    assert "x nan" in line.lower()
    assert courses.by_name["heldout/x"].best == (0, 2.0)


def test_a_first_nan_is_not_the_best_for_ever():
    courses = ProbeCourses()
    courses.add(a_round(0, {"heldout/x/bits_per_byte": float("nan"), "task/y/accuracy": float("nan")}))
    courses.add(a_round(1, {"heldout/x/bits_per_byte": 2.0, "task/y/accuracy": 0.2}))
    courses.add(a_round(2, {"heldout/x/bits_per_byte": 3.0, "task/y/accuracy": float("nan")}))
    assert courses.by_name["heldout/x"].best == (1, 2.0)
    assert courses.by_name["task/y"].best == (1, 0.2)


def test_of_many_domains_the_table_has_those_that_are_farthest_from_their_best():
    courses = ProbeCourses()
    courses.add(a_round(0, {f"heldout/d{n}/bits_per_byte": 1.0 for n in range(50)}))
    courses.add(a_round(1, {f"heldout/d{n}/bits_per_byte": 1.0 + n / 100 for n in range(50)}))
    lines = courses.lines()
    assert len(lines) == 21
    assert lines[0].startswith("  d49: ")
    assert lines[-1] == "  and 30 more, nearer to their best"
    assert courses.table(100).row_count == 21
