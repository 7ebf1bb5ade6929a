"""The Think grammar: what is written is read back, what is malformed is named and yields nothing,
and every token belongs to what its bytes are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from aigq.lists import is_listable, list_spans, render_list
from aigq.settings import UserError
from aigq.spans import OTHER, PADDING, RATIONALE, TRIGGER, TokenBytes
from aigq.text import flat, normalize_query
from aigq.think import (
    MAX_RATIONALE_CHARACTERS,
    InterestPoint,
    ParsedThink,
    parse_think,
    point_fault,
    render_think,
    think_spans,
)

BEHAVIORS = 50
TEA = InterestPoint((3, 4), ("green tea", "tea strainer"), "Bought a pot; tea comes next.")
CASE = InterestPoint((1,), ("phone case",), "Compares phone cases, 1,2\u202f%|<hints>")
TEXT = (
    "1|Bought a pot; tea comes next.\n2|Compares phone cases.\n\n"
    "1|3,4\tgreen tea\ttea strainer\n2|1\tphone case"
)

JOINERS = "\u200b\u200c\u200d\u00ad\ufeff\u2066|,;<>1290"
LETTERS = st.characters() | st.sampled_from(JOINERS) | st.sampled_from("abc 茶ठ👩")
TEXTS = st.text(LETTERS, max_size=40)
QUERIES = TEXTS.map(normalize_query).filter(is_listable)
POINTS = st.builds(
    InterestPoint,
    st.lists(st.integers(1, BEHAVIORS), unique=True, min_size=1, max_size=5).map(tuple),
    st.lists(QUERIES, unique=True, min_size=1, max_size=4).map(tuple),
    TEXTS.map(flat),
).filter(lambda point: point_fault(point, behaviors=BEHAVIORS) is None)
TARGETS = st.lists(POINTS, min_size=1, max_size=4)


@given(TARGETS)
def test_round_trip(points):
    parsed = parse_think(render_think(points), finished=True, behaviors=BEHAVIORS)
    assert parsed.error is None
    assert parsed.points == tuple(points)
    written = [query for point in points for query in point.queries]
    assert parsed.queries == tuple(dict.fromkeys(written))
    assert parsed.duplicates == len(written) - len(set(written))


@given(POINTS | st.builds(InterestPoint, st.tuples(st.integers(-1, 60)), st.tuples(TEXTS), TEXTS))
def test_what_may_be_written_is_exactly_what_is_read_back(point):
    parsed = parse_think(render_think([point]), finished=True, behaviors=BEHAVIORS)
    is_sound = point_fault(point, behaviors=BEHAVIORS) is None
    assert is_sound == (parsed.points == (point,))


@given(st.text(st.sampled_from("a \t\n,1|9\ufffd茶\x00"), max_size=30), st.booleans())
def test_any_text_is_read_or_named_malformed(text, finished):
    parsed = parse_think(text, finished=finished, behaviors=9)
    assert (parsed.error is None) == bool(parsed.points)
    if parsed.points:
        again = parse_think(render_think(parsed.points), finished=True, behaviors=9)
        assert again.points == parsed.points
    else:
        assert parsed == ParsedThink((), parsed.error)


def test_by_hand():
    case = InterestPoint(CASE.triggers, CASE.queries, "Compares phone cases.")
    assert render_think([TEA, case]) == TEXT
    assert point_fault(CASE, behaviors=1) == "invalid_text"  # U+202F is white space
    parsed = parse_think("1|Why.\n2|Why not.\n\n1|4\tRed  MUG\ttea\tred mug\n2|2,1\ttea",
                         finished=True, behaviors=4)  # fmt: skip
    assert parsed == ParsedThink(
        (InterestPoint((4,), ("red mug", "tea"), "Why."),
         InterestPoint((2, 1), ("tea",), "Why not.")), None, 2
    )  # fmt: skip
    assert parsed.queries == ("red mug", "tea")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "empty"),
        (" \n\u3000", "empty"),
        ("1|Why.\n1|1\ttea", "missing_answer"),
        ("Why.\n", "missing_answer"),
        ("1|Why.\n\n", "missing_answer"),
        ("\n1|1\ttea", "missing_rationale"),
        ("1|Why.\n2|And why.\n\n1|1\ttea", "unpaired_points"),
        ("1|Why.\n\n1|1\ttea\n2|2\tmug", "unpaired_points"),
        ("Why.\n\n1|1\ttea", "misnumbered"),
        ("1|Why.\n\n1\ttea", "misnumbered"),
        ("2|Why.\n\n1|1\ttea", "misnumbered"),
        ("1|Why.\n\n01|1\ttea", "misnumbered"),
        ("1|Why.\n1|And why.\n\n1|1\ttea\n2|2\tmug", "misnumbered"),
        ("1|Why.\n2|And why.\n\n2|1\ttea\n1|2\tmug", "misnumbered"),
        ("1|Why.\n\n1|1\ttea\n", "empty_point"),
        ("1|Why.\n\n\n1|1\ttea", "empty_point"),
        ("1| \n\n1|1\ttea", "empty_rationale"),
        ("1|" + "a" * (MAX_RATIONALE_CHARACTERS + 1) + "\n\n1|1\ttea", "long_rationale"),
        ("1|Why\x00.\n\n1|1\ttea", "invalid_text"),
        ("1|Why\ufffd.\n\n1|1\ttea", "invalid_text"),
        ("1|Why.\n\n1|1\ttea\ufffd", "invalid_text"),
        ("1|Why.\n\n1|1\ttea\x00", "invalid_text"),
        ("1|Why.\n\n1|tea\tmug", "bad_trigger"),
        ("1|Why.\n\n1|\ttea", "bad_trigger"),
        ("1|Why.\n\n1|1,\ttea", "bad_trigger"),
        ("1|Why.\n\n1|1, 2\ttea", "bad_trigger"),
        ("1|Why.\n\n1|01\ttea", "bad_trigger"),
        ("1|Why.\n\n1|１\ttea", "bad_trigger"),
        ("1|Why.\n\n1|2,2\ttea", "bad_trigger"),
        ("1|Why.\n\n1|0\ttea", "bad_trigger"),
        ("1|Why.\n\n1|1,10\ttea", "trigger_out_of_range"),
        ("1|Why.\n\n1|1", "missing_query"),
        ("1|Why.\n\n1|1\t", "empty_query"),
        ("1|Why.\n\n1|1\ttea\t\tmug", "empty_query"),
        ("1|Why.\n\n1|1\t" + "a" * 101, "long_query"),
    ],
)
def test_malformed(text, error):
    assert parse_think(text, finished=True, behaviors=9) == ParsedThink((), error)
    assert parse_think(text, finished=False, behaviors=9) == ParsedThink((), "truncated")


def test_without_behaviours_no_text_is_right():
    # Not the model's mistake, so it has a name of its own.
    for text in (TEXT, "", "1|Why.\n\n1|1\ttea"):
        for finished in (True, False):
            parsed = parse_think(text, finished=finished, behaviors=0)
            assert parsed == ParsedThink((), "no_behaviors")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"triggers": ()}, "bad_trigger"),
        ({"triggers": (2, 2)}, "bad_trigger"),
        ({"triggers": (0,)}, "bad_trigger"),
        ({"triggers": (51,)}, "trigger_out_of_range"),
        ({"queries": ()}, "missing_query"),
        ({"queries": ("tea", "tea")}, "repeated_query"),
        ({"queries": ("Tea",)}, "invalid_text"),
        ({"queries": ("",)}, "empty_query"),
        ({"rationale": ""}, "empty_rationale"),
        ({"rationale": "two\nlines"}, "invalid_text"),
        ({"rationale": "\ufffd"}, "invalid_text"),
    ],
)
def test_faults(changes, fault):
    point = InterestPoint(**(vars(TEA) | changes))
    assert point_fault(TEA, behaviors=BEHAVIORS) is None
    assert point_fault(point, behaviors=BEHAVIORS) == fault


def make_tokenizer(*, straddling: bool) -> PreTrainedTokenizerFast:
    """Byte-level BPE. ``straddling``: without word borders, so that pieces run over separators."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not straddling)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        ["a\nb\tc 茶", "s.\n\n", "1,2\t茶", "\tb\tc", "1\tabc", "2,3\ta", "a\nb c\nc", "\tp"] * 3,
        trainers.BpeTrainer(
            vocab_size=420,
            special_tokens=["<eos>", "<hints>"],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    core.add_tokens(["\n1|"])  # an ordinary piece that pre-tokenisation does not know
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")


TOKENIZERS = [make_tokenizer(straddling=False), make_tokenizer(straddling=True)]
TABLES = [TokenBytes(tokenizer) for tokenizer in TOKENIZERS]


def think_pieces(points):
    """(text, span) of a target, written out without any parser."""
    for number, point in enumerate(points, start=1):
        yield f"{number}|", OTHER
        yield point.rationale, RATIONALE
        yield "\n", OTHER
    slot = 0
    for number, point in enumerate(points, start=1):
        yield f"\n{number}|", OTHER
        yield ",".join(map(str, point.triggers)), TRIGGER
        for query in point.queries:
            yield "\t", OTHER
            yield query, slot
            slot += 1


def list_pieces(queries):
    for slot, query in enumerate(queries):
        yield "\n" if slot else "", OTHER
        yield query, slot


def expected_spans(pieces, tokenizer, ids):
    """Byte by byte: the first byte of a token that is not a separator says what it is."""
    of_byte = [span for text, span in pieces for _ in text.encode()]
    sizes, position, spans = TokenBytes(tokenizer).read(ids).sizes, 0, []
    for size in sizes:
        inside = [span for span in of_byte[position : position + size] if span != OTHER]
        spans.append(inside[0] if inside else OTHER)
        position += size
    assert position == len(of_byte)
    return tuple(spans)


@pytest.mark.parametrize("kind", [0, 1], ids=["words", "straddling"])
@settings(deadline=None)
@given(points=TARGETS)
def test_spans_of_think(kind, points):
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer(render_think(points), split_special_tokens=True)["input_ids"]
    found = think_spans([*ids, 0, 0, 5], TABLES[kind], behaviors=BEHAVIORS)
    assert found.error is None
    assert found.spans[len(ids) :] == (OTHER, PADDING, PADDING)
    assert found.spans[: len(ids)] == expected_spans(think_pieces(points), tokenizer, ids)
    assert found.queries == tuple(query for point in points for query in point.queries)


@pytest.mark.parametrize("kind", [0, 1], ids=["words", "straddling"])
@settings(deadline=None)
@given(queries=st.lists(QUERIES, min_size=1, max_size=6))
def test_spans_of_lists(kind, queries):
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer(render_list(queries), split_special_tokens=True)["input_ids"]
    found = list_spans([*ids, 0], TABLES[kind])
    assert found.queries == tuple(queries)
    assert found.spans[: len(ids)] == expected_spans(list_pieces(queries), tokenizer, ids)


@given(TEXTS)
def test_reading_spells_what_was_encoded(text):
    text = text.encode(errors="replace").decode()  # a lone surrogate is nothing to encode
    for tokenizer, table in zip(TOKENIZERS, TABLES, strict=True):
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert table.read(ids).text == text


def test_a_token_over_a_border_by_hand():
    ids = TOKENIZERS[1]("1|s.\n\n1|1\tabc\tb\tc")["input_ids"]
    pieces = TOKENIZERS[1].batch_decode([[i] for i in ids])
    assert pieces == ["1", "|", "s.\n", "\n1|", "1\tabc", "\tb\tc"]
    # The first region that a token touches has it: slot 0 and slot 2 are left without any.
    found = think_spans([*ids, 0], TABLES[1], behaviors=1).spans
    assert found == (OTHER, OTHER, RATIONALE, OTHER, TRIGGER, 1, OTHER)
    ids = TOKENIZERS[0]("1|a\n\n1|1\tb")["input_ids"]
    assert TOKENIZERS[0].batch_decode([[i] for i in ids]) == [
        "1",
        "|",
        "a",
        "\n",
        "\n1|",
        "1",
        "\t",
        "b",
    ]
    found = think_spans([*ids, 0], TABLES[0], behaviors=1).spans
    assert found == (-3, -3, -2, -3, -3, -1, -3, 0, -3)


def test_malformed_completions_have_no_slots():
    tokenizer, table = TOKENIZERS[0], TABLES[0]
    ids = tokenizer(TEXT)["input_ids"]
    for wrong, error in (
        (ids, "truncated"),
        ([*ids[:-1], 1, 0], "invalid_text"),  # <hints> inside
        ([*ids, 9999, 0], "invalid_text"),  # a row without a piece
        ([0, *ids], "empty"),
    ):
        found = think_spans(wrong, table, behaviors=4)
        assert (found.error, found.queries) == (error, ())
        assert set(found.spans) <= {OTHER, PADDING}
        assert len(found.spans) == len(wrong)
    assert think_spans([*ids, 0], table, behaviors=3).error == "trigger_out_of_range"
    assert list_spans(tokenizer("a\n\nb")["input_ids"] + [0], table).error == "empty_query"


def test_other_tokenizers_are_refused():
    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    with pytest.raises(UserError, match="not byte-level"):
        TokenBytes(PreTrainedTokenizerFast(tokenizer_object=words))
