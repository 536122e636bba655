"""A service for messages is down for half an hour: what that costs the run, and what arrives afterwards.

A run with an incident every so many steps is observed beside a webhook that fails, limits the rate, or never answers,
for as long as asked for; then it takes what it is given. Told are the median and the 99.9th percentile of the time for
which a step holds the training thread, during the outage and with no address at all, resident memory, and whether what
arrives is in order and there once.

    python -m benchmarks.outage [--minutes 30]
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import statistics
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pretrain_monitor import Monitor, Sample

STEP_S = 0.02
EVERY = 3000  # steps between two incidents: one a minute
TROUBLE = (500, 429, 0)  # 0: takes the request and never answers


class Webhook:
    def __init__(self) -> None:
        self.trouble: int | None = None
        self.taken: list[str] = []
        self.tries = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.tries += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if hook.trouble == 0:
                    time.sleep(10)
                    return
                if hook.trouble is None:
                    hook.taken.append(body["title"])
                self.send_response(200 if hook.trouble is None else hook.trouble)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_address[1]}/"


def resident_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def observe(monitor: Monitor, steps: int, chance: random.Random, first: int) -> list[float]:
    """Seconds that each step took of the training thread."""
    taken = []
    for step in range(first, first + steps):
        loss = math.nan if step % EVERY == EVERY - 1 else 2.5 + chance.gauss(0, 0.02)
        began = time.perf_counter()
        monitor.observe(Sample(step, {"loss": loss, "grad_norm": chance.lognormvariate(0, 0.2)}))
        taken.append(time.perf_counter() - began)
        time.sleep(STEP_S)
    return taken


def told(what: str, taken: list[float]) -> str:
    late = sorted(taken)[-len(taken) // 1000 - 1]
    return f"{what}: median {1e6 * statistics.median(taken):.0f} us, 99.9th percentile {1e6 * late:.0f} us"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="messages through an outage")
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args(arguments).minutes
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    chance = random.Random(0)
    quiet: dict[str, Any] = {"console": {"enabled": False}, "tensorboard": {"enabled": False}}
    hook = Webhook()
    notify = {"urls": [hook.url], "cooldown_minutes": 0.0, "max_per_hour": 1000, "pictures": False}
    with tempfile.TemporaryDirectory() as folder:
        bare = Monitor(Path(folder) / "bare", quiet)
        bare.start()
        without = observe(bare, 3000, chance, 1)
        bare.finish()
        monitor = Monitor(Path(folder) / "run", {**quiet, "notify": notify, "sink_timeout_s": 120.0})
        monitor.start()
        step = 1 + len(observe(monitor, 2000, chance, 1))
        memory = resident_mb()
        during: list[float] = []
        ends = time.monotonic() + 60 * minutes
        while time.monotonic() < ends:
            hook.trouble = TROUBLE[len(during) // 2000 % len(TROUBLE)]
            during += observe(monitor, 500, chance, step)
            step += 500
        after_memory, before = resident_mb(), len(hook.taken)
        incidents = [incident.onset_step for incident in monitor.incidents if incident.is_alert]
        hook.trouble = None
        monitor.finish()
        print(told("with no address", without))
        print(told(f"during {minutes:g} minutes of outage", during))
        print(f"resident memory: {memory:.0f} MB before, {after_memory:.0f} MB after it; {hook.tries} tries")
        begun = [title for title in hook.taken if "NONFINITE" in title.upper() and "CRITICAL" in title]
        in_order = [int(title.rsplit(" ", 1)[1].replace(",", "")) for title in begun]
        is_right = before == 0 and in_order == sorted(set(in_order)) and in_order == incidents
        verdict = "in order and once" if is_right else "NOT AS THEY SHOULD"
        print(f"alerts: {len(incidents)}; arrived {len(in_order)}, {verdict}")
    return 0 if is_right else 1


if __name__ == "__main__":
    raise SystemExit(main())
