from __future__ import annotations

import math

import pytest
from test_telemetry import an_incident

from pretrain_monitor.telemetry import Change, Event, Kind, Sample
from pretrain_monitor.tensorboard.cards import IncidentCards, incident_card, overview_card
from pretrain_monitor.tensorboard.tags import OVERVIEW_CARDS

# TensorBoard's own copy of bleach warns about itself when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning")


def as_shown(card: str) -> str:
    """The HTML that TensorBoard makes of a card."""
    from tensorboard.plugin_util import markdown_to_safe_html

    return markdown_to_safe_html(card)


def test_a_card_holds_message_numbers_and_advice():
    incident = an_incident(message="loss rose from 3 to 4.5", advice="Look at the batch.")
    html = as_shown(incident_card(incident))
    assert "loss rose from 3 to 4.5" in html
    assert "Look at the batch." in html
    assert "expected 3, peak 4.5" in html
    assert "<table>" in html
    assert f"onset {incident.onset_step:,}" in html


def test_markup_in_a_message_is_shown_and_not_interpreted():
    nasty = "norm_of[a](https://example.org) | <b>x</b> <script>y</script> **z** `q` # h\n# title"
    incident = an_incident(message=nasty, signals=(nasty,))
    for card in (incident_card(incident), overview_card([incident], 1, 2)):
        html = as_shown(card)
        assert "&lt;script&gt;y&lt;/script&gt; **z** `q` # h # title" in html
        assert "<a" not in html
        assert "<h1" not in html


def test_numbers_nobody_knows_are_left_out():
    unknown = dict.fromkeys(("expected", "peak", "score", "relative_increase", "excess_loss", "end_step"))
    card = incident_card(an_incident(**unknown, evidence={}))
    assert "None" not in card
    assert "excess" not in card


def test_a_value_that_is_not_finite_is_spelled_out():
    card = incident_card(an_incident(kind=Kind.NONFINITE, peak=math.nan, score=None))
    assert "peak NaN" in card


def test_what_was_announced_stands_among_the_incidents():
    cards = IncidentCards(1)
    assert cards.on_sample(Sample(1, {"loss": 2.0}, meta={"resumed_from": 0})) == {}
    assert cards.on_sample(Sample(1, {"loss": 2.0}, meta={"announced": "?"})) == {}
    said = [{"text": "stage 2: <code>", "what": "data_stage", "step": 40}]
    card = cards.on_sample(Sample(40, {"loss": 2.0}, meta={"announced": said}))[OVERVIEW_CARDS]
    assert "<strong>step 40: announced, data stage</strong>: stage 2: &lt;code&gt;" in as_shown(card)
    incident = an_incident(onset_step=50, id="x")
    lines = cards.on_event(Event(51, "x", Change.OPENED, incident))[OVERVIEW_CARDS].splitlines()
    assert [line.split(":")[0] for line in lines[2:]] == ["- **step 50", "- **step 40"]


def test_a_long_list_of_incidents_is_cut_and_says_so():
    many = [an_incident(id=str(n), onset_step=n) for n in range(80)]
    card = overview_card(many, 1, 100)
    assert card.count("\n- **step") == 50
    assert "**step 79:" in card.splitlines()[2]
    assert card.endswith("- and 30 earlier ones, which are in the run log")
