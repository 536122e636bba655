from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from tiny_models import Uniform, letters

from pretrain_monitor.probes import PerplexityProbe, ProbeError
from pretrain_monitor.probes.base import Scores
from pretrain_monitor.probes.compressor import xz_bits_per_byte
from pretrain_monitor.probes.coverage import yardstick
from pretrain_monitor.probes.report import wording
from pretrain_monitor.probes.results import ModelResult, ProbeOutcome, Results, read_reference, write_results
from pretrain_monitor.probes.tokenizers import Tokenizer
from tests.probes.watched_loops import train

WORDS = ["the", "of", "and", "to", "in", "that", "was", "his", "for", "with", "not", "you", "model", "text", "byte"]
BYTES = Tokenizer("bytes", lambda texts: [list(text.encode()) for text in texts], prefix_id=0)
HUNDREDS = Tokenizer("hundreds", lambda texts: [[1] * (len(text) // 100) for text in texts], prefix_id=0)
PAIRS = Tokenizer("pairs", lambda texts: [[256 * a + b for a, b in in_pairs(text)] for text in texts], prefix_id=0)


def in_pairs(text: str) -> list[tuple[int, int]]:
    raw = text.encode()
    return list(zip(raw[::2], raw[1::2], strict=True))


def prose(size: int, seed: int = 0) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choices(WORDS, k=size // 4))[:size]


def test_a_domain_is_held_against_xz_on_the_same_documents():
    texts = [prose(150_000, seed) for seed in range(3)]
    found, note = yardstick(texts)
    assert found is not None
    assert found.compressor_bits_per_byte == xz_bits_per_byte(texts)
    sizes = np.array([150_000] * 3)
    scores = Scores(np.log(2) * sizes * [0.5, 1.0, 1.5], sizes, sizes, "key")
    metrics = found.metrics("heldout/prose", scores)
    assert metrics["heldout/prose/coverage"] == pytest.approx(found.compressor_bits_per_byte / 1.0)
    assert "450,000 bytes of 450,000" in note


def test_of_a_large_domain_the_documents_that_fit_are_read_and_the_model_is_judged_on_them():
    texts = [prose(200_000, 1), prose(4_100_000, 2), prose(200_000, 3)]
    found, note = yardstick(texts)
    assert found is not None
    assert found.documents.tolist() == [0, 2]
    sizes = np.array(list(map(len, texts)))
    scores = Scores(np.log(2) * sizes * [1.0, 50.0, 1.0], sizes, sizes, "key")
    assert found.metrics("a", scores)["a/coverage"] == pytest.approx(found.compressor_bits_per_byte)
    assert "400,000 bytes of 4,500,000" in note


def test_too_little_text_has_no_coverage_and_too_long_documents_say_why():
    assert yardstick([prose(200_000)]) == (None, "")
    found, note = yardstick(["x" * 5_000_000])
    assert found is None
    assert "longer" in note


def test_a_model_that_gives_nan_has_no_coverage():
    found, _ = yardstick([prose(400_000)])
    assert found is not None
    sizes = np.array([400_000])
    assert list(found.metrics("a", Scores(np.array([math.nan]), sizes, sizes, "key"))) == ["a/compressor_bits_per_byte"]


def test_the_probe_tells_coverage_of_the_domains_that_are_large_enough_and_can_do_without():
    domains = {"large": [prose(400_000)], "small": [prose(1000)]}
    result = PerplexityProbe(domains, HUNDREDS, context_length=512)(Uniform())
    bits = xz_bits_per_byte(domains["large"])
    assert result["heldout/large/compressor_bits_per_byte"] == bits
    assert result["heldout/large/coverage"] == pytest.approx(bits / 0.08)
    assert "heldout/small/coverage" not in result
    assert "coverage" in " ".join(result.notes)
    without = PerplexityProbe(domains, HUNDREDS, context_length=512, compressor=False)(Uniform())
    assert not [name for name in without if "coverage" in name or "compressor" in name]


def of_probe(tmp_path: Path, probe: PerplexityProbe, model: Uniform) -> Path:
    found = probe(model)
    outcome = ProbeOutcome("heldout", "perplexity", found, found.scores, found.notes, 1.0)
    path = tmp_path / "reference.json"
    write_results(Results([ModelResult("models/best", "best", probes=[outcome])]), path)
    return path


def test_the_probe_tells_the_gap_to_a_reference_with_another_tokenizer(tmp_path: Path):
    texts = {"a": ["one text", "another text of more bytes", "a third."], "b": ["alone."]}
    path = of_probe(tmp_path, PerplexityProbe(texts, PAIRS, context_length=64), Uniform(2**20))
    result = PerplexityProbe(texts, BYTES, context_length=64, reference=path)(Uniform(256))
    # Twenty bits for two bytes, and eight for each.
    assert result["heldout/a/gap_to_reference"] == pytest.approx(-2.0)
    assert result["heldout/a/gap_to_reference_se"] == pytest.approx(0.0, abs=1e-6)
    assert "heldout/b/gap_to_reference_se" not in result, "one document has no error"
    assert not any("reference" in note for note in result.notes)

    other = {"a": ["one text", "another text of fewer", "a third."]}
    result = PerplexityProbe(other, BYTES, context_length=64, reference=path)(Uniform(256))
    assert result["heldout/a/gap_to_reference"] == pytest.approx(-2.0)
    assert any("the gap is that of two samples" in note for note in result.notes)


def test_a_reference_that_was_read_in_other_windows_is_noted_in_the_run_and_in_the_report(tmp_path: Path):
    texts = {"a": ["one text", "another text of more bytes", "a third."], "b": ["alone."]}
    path = of_probe(tmp_path, PerplexityProbe(texts, BYTES, context_length=8), Uniform(256))
    probe = PerplexityProbe(texts, BYTES, context_length=64, reference=path)
    found = probe(Uniform(256))
    said = "the reference read its documents in windows of 8 tokens, 8 scored in each: the gap is also one of"
    assert [note.startswith(said) for note in found.notes].count(True) == 1
    outcome = ProbeOutcome("heldout", "perplexity", found, found.scores, found.notes, 1.0)
    results = Results([ModelResult("models/mine", "mine", probes=[outcome])])
    assert sum(note.startswith(said) for note in wording.notes(results, read_reference(path))) == 1
    alike = read_reference(of_probe(tmp_path, probe, Uniform(256)))
    assert not any(note.startswith("the reference read") for note in wording.notes(results, alike))


def test_a_run_says_once_that_its_reference_was_read_in_another_way(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    texts = {"a": ["one text", "another text of more bytes", "a third."], "b": ["alone."]}
    path = of_probe(tmp_path, PerplexityProbe(texts, BYTES, context_length=8), Uniform(256))
    plain = PerplexityProbe(texts, BYTES, context_length=8, reference=path)
    train(20, None, [plain])
    assert not caplog.records
    train(30, None, [PerplexityProbe(texts, BYTES, windows="packed", reference=path)])
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "probe heldout: the reference read its documents in windows of 8 tokens, 8 scored in each: the gap is also one "
        "of how much is seen before a token"
    )
    caplog.clear()
    other = {**texts, "a": ["one text", "another text", "and a third one"]}
    train(20, None, [PerplexityProbe(other, BYTES, windows="packed", reference=path)])
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("probe heldout: ")
    assert "the gap is that of two samples" in line
    assert line.endswith("; 1 more of this kind in the run log")


def test_a_reference_of_other_domains_is_refused(tmp_path: Path):
    path = of_probe(tmp_path, PerplexityProbe({"a": ["one text"]}, letters, context_length=64), Uniform())
    with pytest.raises(ProbeError, match="has none of heldout/b: it measured other domains"):
        PerplexityProbe({"b": ["one text"]}, letters, reference=path)
