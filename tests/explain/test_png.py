from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eventful_runs import RUNS, explanation_of
from PIL import Image

from pretrain_monitor.explain.drawing import Role
from pretrain_monitor.explain.looks import COLOURS, PAPER
from pretrain_monitor.explain.panels import draw
from pretrain_monitor.explain.png import figure_of, write_png


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def near(image: np.ndarray, colour: str) -> np.ndarray:
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return np.abs(image - rgb).max(axis=2) < 12


@pytest.mark.parametrize("run", RUNS)
def test_every_incident_is_drawn_and_the_picture_is_not_blank(tmp_path: Path, run: str):
    write_png(explanation_of(run), tmp_path / "why.png")
    image = pixels(tmp_path / "why.png")
    share = 1 - near(image, PAPER).mean()
    assert 0.02 < share < 0.6
    assert near(image, COLOURS[Role.DETECTED]).any()


def test_the_line_of_the_detection_is_where_its_step_is(tmp_path: Path):
    explanation = explanation_of("level_shift")
    write_png(explanation, tmp_path / "why.png")
    image = pixels(tmp_path / "why.png")
    columns = near(image, COLOURS[Role.DETECTED]).sum(axis=0)
    share = (explanation.incident.detected_step - explanation.first_step) / (
        explanation.last_step - explanation.first_step
    )
    expected = image.shape[1] * (0.82 + 10.0 * share) / 11.0
    assert abs(int(np.argmax(columns)) - expected) < 3


def test_names_are_neither_formulas_nor_unknown_characters_that_warn(tmp_path: Path):
    explanation = explanation_of("bad_batch")
    name = r"$\frac{1}$ <b>損失</b> \x1b"
    incident = replace(explanation.incident, message=name, signals=(name,), id=name)
    track = replace(explanation.tracks[0], name=name)
    write_png(replace(explanation, incident=incident, tracks=(track,)), tmp_path / "why.png")
    assert pixels(tmp_path / "why.png").size


@pytest.mark.parametrize("run", ["drift", "early", "spike"])
def test_titles_legends_and_names_can_be_read_and_do_not_overlap(run: str):
    figure = figure_of(draw(explanation_of(run)))
    figure.draw_without_rendering()
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is None:
            continue
        assert all(text.get_fontsize() >= 6 for text in legend.get_texts())
        # matplotlib has no public name for a title on the left.
        title = axes._left_title  # type: ignore[attr-defined]
        assert title.get_window_extent().x1 < legend.get_window_extent().x0
        assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_nothing_is_left_behind_in_pyplot(tmp_path: Path):
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; sys.path[:0] = ['tests', 'tests/explain']\n"
        "from eventful_runs import explanation_of\n"
        "from pretrain_monitor.explain.png import write_png\n"
        f"write_png(explanation_of('bad_batch'), Path({str(tmp_path / 'why.png')!r}))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr
