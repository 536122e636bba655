"""Names of the series and runs that are drawn, in one place because the layout must spell them exactly."""

from __future__ import annotations

ALERT_RUN = "alerts"  # a run of its own beside the training run: TensorBoard colours by run, never by tag
SHARED_PREFIX = "monitor/"
BANDED = ("loss", "grad_norm")
CARDS = OVERVIEW_CARDS, ALERT_CARDS, INFO_CARDS = "all", "alerts", "info"

EXPECTED, LOWER, UPPER = "expected", "lower", "upper"
_BAND_PARTS = (EXPECTED, LOWER, UPPER)

# Results of probes keep their names; everything else is a signal of the training itself.
_OWN_GROUP = ("heldout/", "task/", "tokenization/", "probe/", "domain/")


def signal_tag(name: str, prefix: str = "") -> str:
    """Tag of a metric.

    >>> signal_tag("loss"), signal_tag("loss/upper"), signal_tag("heldout/code/perplexity", "monitor/")
    ('train/loss', 'trend/loss/upper', 'monitor/heldout/code/perplexity')
    """
    signal, _, part = name.rpartition("/")
    if signal in BANDED and part in _BAND_PARTS:
        # Apart from train/: TensorBoard gives every tag of a group a chart, and three more of each would bury the rest.
        return f"{prefix}trend/{name}"
    if name.startswith(_OWN_GROUP):
        return prefix + name
    return f"{prefix}train/{name}"


def incident_tag(signal: str, prefix: str = "") -> str:
    return f"{prefix}incident/{signal}"


def card_tag(name: str, prefix: str = "") -> str:
    return f"{prefix}incidents/{name}"
