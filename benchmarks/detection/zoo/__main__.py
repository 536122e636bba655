"""Train the zoo again: ``python -m benchmarks.detection.zoo [--only CAUSE] [--out DIR] [--again]``.

Every run is stored as soon as it is done, and a run that is stored is not trained again: stop and go on at will. All of
it takes about 40 minutes on one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .cases import CASES
from .storage import STORED, path_of, write_telemetry
from .train import train


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.zoo", description=__doc__)
    parser.add_argument("--only", metavar="CAUSE", help="the runs of one cause and their twins")
    parser.add_argument("--out", type=Path, default=STORED, metavar="DIR", help="where the telemetry is stored")
    parser.add_argument("--again", action="store_true", help="train what is stored already, too")
    arguments = parser.parse_args(argv)
    causes = sorted({case.cause for case in CASES.values()})
    if arguments.only is not None and arguments.only not in causes:
        parser.error(f'unknown cause "{arguments.only}"; choose one of {", ".join(causes)}')
    chosen = [name for name, case in CASES.items() if arguments.only in (None, case.cause)]
    twins = [twin for name in chosen if (twin := CASES[name].twin) is not None]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(twins + chosen):
        path = path_of(name, arguments.out)
        if path.exists() and not arguments.again:
            continue
        began = time.perf_counter()
        telemetry = train(CASES[name].recipe)
        write_telemetry(path, telemetry)
        last = telemetry.columns["loss"][-1]
        print(
            f"{name:28s} {len(telemetry.steps):5d} steps  {time.perf_counter() - began:5.1f} s  loss {last:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
