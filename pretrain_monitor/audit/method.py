"""How the figures of an audit come about, for its appendix."""

from __future__ import annotations

METHOD = [
    "Incidents are those of the streaming detector: of a run log as they were told during the run, of any other log by "
    "a replay. An alert is an incident at warning or above.",
    "Alerts are looked at again with what came after: what is within the usual fluctuation before and after, a return "
    "from a dip, a cycle or a single batch does not count, and what stands out more than could be known live does.",
    "Spike score: share of the losses at least seven standard deviations away from the mean of the last thousand "
    "(OLMo 2, 2024).",
    "Lasting damage: the trimmed mean of the loss after an incident, and after as many steps again as it took, against "
    "the straight line over the log of the step through the stretch before it; clear from four standard errors on.",
    "Still learning: a power law with a floor (Kaplan et al. 2020, Hoffmann et al. 2022) is fitted to the run up to a "
    "third, a half, two thirds and four fifths of it, and the fall that it predicts for the rest is held against what "
    "came; the worst counts. Predictions within six standard errors of nothing are not held against a run.",
    "Warm-up: its length against the last early step at which, at more than half of the peak rate, the gradient norm "
    "was over four times its later level, or the loss more than 5 % above its best.",
    "Held-out values carry the interval of their probe over documents. A rise counts if the paired interval leaves out "
    "zero, or, without one, if it is beyond three times what the course does from one round to the next.",
    "Held-out text seen in training: a fall from one round to the next beyond six usual departures, less what the "
    "training loss and the other domains fell there.",
    "Against a compressor: bits of xz over those of the model on the same documents.",
    "Verdict: ready if everything required and advised passed; ready with conditions if only advised checks failed or "
    "had no evidence; not ready if a required one failed; not enough evidence if a required one could not be judged.",
]
