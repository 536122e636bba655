"""The pictures of docs/detection.md: that they are there, small, and still show what their captions say."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

DOCS = Path(__file__).parent.parent / "docs"
SHOWN = re.findall(r"\]\(images/detection/([\w-]+)\.png\)", (DOCS / "detection.md").read_text())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_detection_images", DOCS / "make_detection_images.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up the module they are in
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_shown_once_and_stored(script: ModuleType):
    assert sorted(SHOWN) == sorted(script.PICTURES)
    assert sorted(path.stem for path in (DOCS / "images" / "detection").iterdir()) == sorted(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_the_detector_still_does_what_the_caption_says(script: ModuleType, name: str):
    drawing = script.first_that_shows_it(script.PICTURES[name])
    assert drawing.panels
    assert drawing.first < drawing.last


@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_is_small_and_not_blank(name: str):
    path = DOCS / "images" / "detection" / f"{name}.png"
    assert path.stat().st_size < 60_000
    with Image.open(path) as image:
        assert 700 < image.size[0] < 1000
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10
