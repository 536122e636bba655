"""The instability zoo: small language models trained on CPU, with faults that happen in practice and healthy twins.

``python -m benchmarks.detection.zoo`` trains them again; ``load.load_zoo`` reads what is stored in ``telemetry/``.

What is real: the text (sources and documentation of the interpreter's own library), the gradients, the optimizers, and
what the loss makes of a fault. What is played, all of it in one process:

- Data-parallel ranks are equal parts of one batch. Averaging gradients is linear, so weighting the rows of a part gives
  the gradient that an average over ranks with that weight has.
- Half precision rounds activations and their gradients to 16 bits where a kernel would store them; sums are made in 32
  bits, as tensor cores make them. Overflow is that of the format: Inf above 65504.
- A resume is a step from which on something is set otherwise, or forgotten.
"""
