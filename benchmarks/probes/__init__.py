"""Whether probes say what lm-evaluation-harness says, and how much sooner: on one model, in one run."""
