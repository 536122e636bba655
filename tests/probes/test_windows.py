from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain_monitor.probes.documents import Document
from pretrain_monitor.probes.windows import packed, strided


def document(tokens: int, first: int = 0) -> Document:
    return Document(np.arange(first, first + tokens), np.arange(tokens) > 0, bytes=tokens)


def asked(rows):
    """(owner, target) of each prediction, in order."""
    return [(int(o), int(t)) for row in rows for o, t in zip(row.owners, row.targets, strict=True)]


@settings(max_examples=200, deadline=None)
@given(tokens=st.integers(2, 60), context=st.integers(1, 20), data=st.data())
def test_every_token_but_the_first_is_scored_once_whatever_the_stride(tokens, context, data):
    stride = data.draw(st.integers(1, context))
    rows = strided([document(tokens)], context, stride)
    assert asked(rows) == [(0, token) for token in range(1, tokens)]
    for row in rows:
        assert 1 <= len(row) <= context
        # What is asked for is what comes next in the document.
        assert (row.ids[row.at] + 1 == row.targets).all()
        # As much is read before it as the context holds.
        assert row.ids[0] == 0 or len(row) == context


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(2, 15), min_size=1, max_size=8), context=st.integers(1, 20))
def test_packed_rows_score_every_token_but_the_first_of_each_document(lengths, context):
    documents = [document(length, first=100 * number) for number, length in enumerate(lengths)]
    rows = packed(documents, context)
    assert asked(rows) == [(n, 100 * n + token) for n, length in enumerate(lengths) for token in range(1, length)]
    assert all(len(row) <= context for row in rows)


def test_a_smaller_stride_reads_more_before_each_token():
    rows = strided([document(9)], context_length=4, stride=2)
    assert [(row.ids.tolist(), row.targets.tolist()) for row in rows] == [
        ([0, 1, 2, 3], [1, 2, 3, 4]),
        ([2, 3, 4, 5], [5, 6]),
        ([4, 5, 6, 7], [7, 8]),
    ]


def test_windows_in_which_nothing_is_scored_are_not_read():
    is_scored = np.zeros(12, dtype=bool)
    is_scored[10] = True
    rows = strided([Document(np.arange(12), is_scored, bytes=1)], context_length=4, stride=4)
    assert [(row.ids.tolist(), row.at.tolist(), row.targets.tolist()) for row in rows] == [([7, 8, 9, 10], [2], [10])]


@pytest.mark.parametrize("context", [3, 100])
def test_a_document_of_two_tokens_is_one_prediction(context):
    assert asked(strided([document(2)], context, context)) == [(0, 1)]
