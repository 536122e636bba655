"""An audit in terminals of any width."""

from __future__ import annotations

import io

import pytest
from example_audits import HOSTILE, crowded_audit, full_audit, hostile_audit, small_audit
from rich.console import Console

from pretrain_monitor.audit.model import Audit, Verdict
from pretrain_monitor.report.terminal import print_audit


def printed(audit: Audit, width: int, *, is_terminal: bool = False) -> str:
    system = "standard" if is_terminal else None
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=system, _environ={})
    print_audit(audit, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


SMALL = """\
╭─ NOT READY: pile-1b ─────────────────────────────────────────────────────────╮
│ - Lingering damage is 0.0711 nats per token, at most 0.02 is allowed.        │
╰─────────────────────────────────────────────────────── criteria: production ─╯

steps        1 to 40,000
tokens seen  83.9 B
final loss   2.413
samples      40,000, every step
sessions     3
time         4.6 days, 2026-11-01 02:26 to 2026-11-05 17:33 UTC
ended        finished
log          run log: runs/pile-1b

area          passed  failed  missing  worst
Evidence           1       -        -  -
Stability          -       1        -  Lingering damage: 0.0711 nats per token,
                                       at most 0.02 nats per token (required)
Tokenization       -       -        1  Unknown tokens: not known, at most 0.1 %
                                       (required)

Lingering damage (failed, required)
  value       0.0711 nats per token
  limit       at most 0.02 nats per token
  found       Since step 31,000 the loss lies 0.0711 nats above the trend
              before, and it does not come back.
  evidence    Level before 2.431, level after 2.502.
              9,000 steps, 23 % of the run, lie after it.
  look at     loss, steps 30,500 to 33,000: a step up that stays
              gradient norm, steps 30,900 to 31,200
  what to do  Go back to the checkpoint of step 30,000 and ask what changed in
              the data there.
     incident     onset   level before  level after  difference
  >  level shift  31,000  2.431         2.502        +0.0711
     spike        8,120   2.511         2.511        +0.0003

Missing evidence
  - Unknown tokens (required): no tokenizer was given, and the log has no
    tokenization probe; what to do: Run the audit with --model DIR.

Incidents: 1 alert (1 critical)
 onset  incident              what happened
31,000  level shift           loss rose from 2.431 to 2.502 (+2.9 %, 11 sd) at
        critical, persistent  step 31,000; it has not come back after 9,000
                              steps

The rest
passed  Steps covered by the log  99.97 %, at least 98 %

Notes on the log
- resumed after step 12,000: 340 superseded steps are left out
- grad_norm is missing in 12 steps

What to do next
1. Go back to the checkpoint of step 30,000 and ask what changed in the data
   there.
2. Run the audit with --model DIR.
3. Restore the scheduler together with the optimizer.
"""


def test_the_whole_of_a_small_audit():
    assert [line.rstrip() for line in printed(small_audit(), 80).splitlines()] == SMALL.splitlines()


@pytest.mark.parametrize("width", [60, 61, 80, 100, 120, 160, 200])
@pytest.mark.parametrize("make", [full_audit, small_audit, crowded_audit, hostile_audit])
def test_no_line_is_wider_than_the_terminal_and_all_of_it_is_printable(make, width: int):
    lines = printed(make(), width).splitlines()
    assert max(map(len, lines)) <= min(width, 120)
    assert all(line.isprintable() for line in lines)


def test_what_speaks_against_the_run_comes_before_the_rest():
    text = printed(full_audit(2), 100)
    order = [
        "NOT READY: pile-1b", "criteria: production", "tokens seen", "Learning-rate schedule",
        "Lingering damage (failed, required)", "Restarts of the schedule after a resume (failed, advised)",
        "Missing evidence", "Incidents: 2 alerts (1 critical), 1 for information", "The rest", "What to do next",
    ]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert "against pile-1b-seed2" in text


def test_of_many_incidents_the_gravest_are_listed():
    text = printed(crowded_audit(), 120)
    assert "and 40 less grave" in text
    assert text.count("critical, persistent") + text.count("critical, recovered") == 15


def test_names_are_never_markup():
    audit = small_audit().model_copy(update={"criteria": "[bold red]x[/] [link=http://a]b[/link]"})
    assert "[bold red]x[/] [link=http://a]b[/link]" in printed(audit, 100, is_terminal=True)
    assert HOSTILE[:20] in printed(hostile_audit(), 200)


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_told(verdict: Verdict):
    audit = Audit(run=small_audit().run, criteria="research", verdict=verdict, reasons=[], findings=[])
    assert verdict.upper() in printed(audit, 80)
