import numpy as np
import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.encoding import encode_pair, encode_pairs, encode_suite, fit, moved
from pretrain_monitor.probes.questions import Question, suite_of
from pretrain_monitor.probes.tokenizers import Tokenizer, as_tokenizer

PROSE = [
    "Question: What is the capital of France?\nAnswer: Paris is the capital of France.",
    "Question: What do cats drink?\nAnswer: cats drink milk and water, and the cats sleep.",
    "def add(a, b):\n    return a + b\n",
] * 20


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    """Byte-level BPE as in GPT-2, where a word carries the space before it."""
    made = RustTokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        PROSE,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    return as_tokenizer(made)


@pytest.fixture
def letters() -> Tokenizer:
    """One token for each byte, and 256 before a document."""
    return Tokenizer("letters", lambda texts: [list(text.encode()) for text in texts], prefix_id=256)


def joining(texts):
    """Two letters a token where there are two: borders fall inside of tokens."""
    return [
        [ord(text[at]) * 1000 + ord(text[at + 1 : at + 2] or "\0") for at in range(0, len(text), 2)] for text in texts
    ]


@pytest.mark.parametrize(
    ("context", "continuation"),
    [
        ("Question: What is the capital of France?\nAnswer:", " Paris"),
        ("Question: What do cats drink?\nAnswer: ", "milk"),
        ("def add(a, b):\n    ", "return a + b\n"),
        ("Les chats dorment là où", " il fait chaud ☀️"),
        ("cat", "s drink"),
        (" \n\t x", " \n"),
    ],
)
def test_both_are_read_as_one_text_and_parted_after_the_tokens_of_the_context(pieces, context, continuation):
    space = context[len(context.rstrip()) :]
    whole = pieces.encode(context + continuation)
    alone = pieces.encode(context.rstrip())
    first, second = encode_pair(pieces, context, continuation)
    assert first == alone
    assert second == whole[len(alone) :]
    assert moved(context, continuation) == (context.rstrip(), space + continuation)


def test_white_space_at_the_end_of_a_context_is_scored_with_the_continuation(pieces):
    assert encode_pair(pieces, "cats drink ", "milk") == encode_pair(pieces, "cats drink", " milk")
    assert pieces.decode(encode_pair(pieces, "cats drink\n ", "milk")[1]) == "\n milk"


def test_without_a_context_a_text_is_scored_after_the_token_that_begins_one(pieces, letters):
    end = pieces.prefix_id
    assert encode_pair(pieces, "", "The cats sleep.") == ([end], pieces.encode("The cats sleep."))
    assert encode_pair(pieces, " ", "cats") == ([end], pieces.encode(" cats"))
    bare = Tokenizer("bare", letters.encode_all)
    with pytest.raises(ProbeError, match="tokenizer bare has no token that begins or ends a text"):
        encode_pair(bare, "", "cats")
    assert encode_pair(bare, "two", " cats") == (list(b"two"), list(b" cats"))


def test_a_text_that_brings_the_beginning_token_does_not_get_it_twice():
    greedy = Tokenizer("own", lambda texts: [[256, *text.encode()] for text in texts], prefix_id=256)
    assert encode_pair(greedy, "", "cat") == ([256], list(b"cat"))


def test_a_model_that_always_met_that_token_gets_it_before_each_context(letters):
    pairs = [("two", " cats"), ("", "cats")]
    assert encode_pairs(letters, pairs, prefix=True) == [([256, *b"two"], list(b" cats")), ([256], list(b"cats"))]


def test_a_token_across_the_border_is_scored_from_the_count_of_the_context():
    two = Tokenizer("two", joining)
    context, continuation = encode_pair(two, "abc", "def")
    assert context == joining(["abc"])[0]
    assert continuation == joining(["abcdef"])[0][2:]


def test_all_texts_are_encoded_at_once_and_each_only_once(letters):
    calls = []

    def counted(texts):
        calls.append(list(texts))
        return letters.encode_all(texts)

    questions = [Question(str(number), f"Number {number % 3}:", (" a", " b", " c"), 0) for number in range(30)]
    encode_suite(Tokenizer("counted", counted), suite_of("many", questions))
    assert len(calls) == 1
    assert sorted(calls[0]) == sorted({f"Number {n}:{end}" for n in range(3) for end in ("", " a", " b", " c")})


def test_a_suite_keeps_the_order_of_choices_and_counts_the_bytes_that_are_scored(letters):
    questions = [
        Question("1", "é: ", ("là", "b"), 0),
        Question("2", "", (" won", " won"), 1, contexts=("Ann", "Bo")),
    ]
    encoded = encode_suite(letters, suite_of("order", questions))
    assert encoded.suite.questions == tuple(questions)
    assert [bytes(ids).decode() for ids in encoded.contexts] == ["é:", "é:", "Ann", "Bo"]
    assert [bytes(ids).decode() for ids in encoded.continuations] == [" là", " b", " won", " won"]
    assert encoded.bytes.tolist() == encoded.tokens.tolist() == [4, 2, 4, 4]
    assert encoded.bytes.dtype == encoded.tokens.dtype == np.int64
    assert encoded.notes == ()


def test_choices_with_one_context_share_its_tokens(letters):
    encoded = encode_suite(letters, suite_of("one", [Question("1", "Say", (" a", " b"), 0)]), context_length=50)
    assert encoded.contexts[0] is encoded.contexts[1]


@pytest.mark.parametrize("length", range(1, 9))
def test_a_context_is_cut_from_the_left_until_all_but_the_last_token_fit(length):
    context, continuation = [1, 2, 3, 4], [5, 6, 7]
    kept = fit(context, continuation, length)
    if length < 3:
        assert kept is None
    else:
        assert kept == [*context, *continuation][-(length + 1) :][: -len(continuation)]
        assert len(kept) >= 1 and len(kept + continuation) - 1 <= length


def test_what_is_cut_and_what_is_left_out_is_counted(letters):
    questions = [
        Question("fits", "12345", (" a", " b"), 0),
        Question("cut", "1234567890123", (" a", " bcd"), 0),
        Question("long", "1", (" a", " is longer than ten"), 0),
    ]
    encoded = encode_suite(letters, suite_of("short", questions), context_length=10)
    assert [question.id for question in encoded.suite.questions] == ["fits", "cut"]
    assert [bytes(ids).decode() for ids in encoded.contexts] == ["12345", "12345", "567890123", "7890123"]
    assert encoded.tokens.tolist() == [2, 2, 2, 4]
    assert encoded.notes == (
        "short: 1 of 3 questions with the beginning of the context cut off to fit 10 tokens",
        "short: 1 of 3 questions left out: an answer is longer than 10 tokens",
    )


def test_a_question_whose_answer_has_no_token_of_its_own_is_left_out():
    two = Tokenizer("two", joining)
    questions = [Question("1", "abc", ("d", "def"), 0), Question("2", "abcd", ("e", "f"), 0)]
    encoded = encode_suite(two, suite_of("joined", questions))
    assert [question.id for question in encoded.suite.questions] == ["2"]
    assert encoded.notes == (
        "joined: 1 of 2 questions left out: "
        "the tokenizer joins an answer with its context, so it has no token of its own",
    )


def test_when_nothing_fits_the_suite_is_refused(letters):
    suite = suite_of("short", [Question("1", "Say", (" something long",), 0)])
    with pytest.raises(
        ProbeError, match="no question is left: short: 1 of 1 questions left out: an answer is longer than 4"
    ):
        encode_suite(letters, suite, context_length=4)


def test_a_function_that_ends_every_text_with_a_token_of_its_own_is_refused():
    ending = Tokenizer("ending", lambda texts: [[*text.encode(), 257] for text in texts], prefix_id=256)
    with pytest.raises(ProbeError, match="tokenizer ending ends every text with token 257") as raised:
        encode_pairs(ending, [("one", " two"), ("three", " four")])
    assert "\n" not in str(raised.value)


def test_texts_that_all_end_alike_by_themselves_are_read(letters):
    (one, two) = encode_pairs(letters, [("Is it?", " No?"), ("Was it?", " Yes?")])
    assert (one[1], two[1]) == (list(b" No?"), list(b" Yes?"))
    # Here "b" ends the context, and is joined with what stands before it in the whole.
    assert encode_pair(Tokenizer("two", joining), "aab", "cb") == (joining(["aab"])[0], joining(["aabcb"])[0][2:])


def test_a_text_that_begins_with_the_prefix_by_itself_does_not_get_it_twice():
    beginning = Tokenizer("beginning", lambda texts: [[256, *text.encode()] for text in texts], prefix_id=256)
    assert encode_pairs(beginning, [("ab", "c"), ("", "c")], prefix=True) == [([256, 97, 98], [99]), ([256], [99])]


def test_a_context_of_which_the_tokenizer_makes_nothing_is_one_that_is_empty():
    blind = Tokenizer("blind", lambda texts: [list(one.replace("\u200b", "").encode()) for one in texts], prefix_id=256)
    assert encode_pairs(blind, [("\u200b", "c")]) == [([256], [99])]
    without = Tokenizer("without", blind.encode_all)
    with pytest.raises(ProbeError, match="has no token that begins or ends a text"):
        encode_pairs(without, [("\u200b", "c")])
