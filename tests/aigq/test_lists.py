"""The list grammar: what is written is read back; what is malformed yields nothing."""

import unicodedata
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq.lists import (
    MAX_QUERY_CHARACTERS,
    ParsedList,
    is_listable,
    merge_lists,
    parse_list,
    render_list,
)
from aigq.text import normalize_query

# Texts of any script, with the characters between letters that users paste.
JOINERS = "\u200b\u200c\u200d\u00ad\ufeff\u2066"
QUERIES = (
    st.text(st.characters() | st.sampled_from(JOINERS), max_size=60)
    .map(normalize_query)
    .filter(is_listable)
)


@given(st.lists(QUERIES, unique=True, min_size=1, max_size=12))
def test_round_trip(queries):
    assert parse_list(render_list(queries), finished=True) == ParsedList(tuple(queries))


@pytest.mark.parametrize(
    ("text", "finished", "error"),
    [
        ("red mug\ntea", False, "truncated"),
        ("", True, "empty"),
        (" \n\u3000", True, "empty"),
        ("red mug\n\ntea", True, "empty_query"),
        ("red mug\n", True, "empty_query"),
        ("\nred mug", True, "empty_query"),
        ("a" * (MAX_QUERY_CHARACTERS + 1), True, "long_query"),
        ("red \ufffd", True, "invalid_text"),
        ("red\x00mug", True, "invalid_text"),
        ("red\u009bmug", True, "invalid_text"),
    ],
)
def test_malformed(text, finished, error):
    assert parse_list(text, finished=finished) == ParsedList((), error)


@pytest.mark.parametrize(
    "query",
    [
        "red\u200bmug",
        "soft\u00adhyphen",
        "👩\u200d🍳 apron",
        "क्\u200dष",
        "می\u200cخواهم",
        "a" * 100,
    ],
)
def test_queries_as_users_write_them_are_listable(query):
    assert is_listable(query)
    assert parse_list(query, finished=True).queries == (query,)


@pytest.mark.parametrize("query", ["", "a" * 101, "red \ufffd", "red\x00mug", "two\nlines", "Red"])
def test_what_would_not_be_read_back_is_not_listable(query):
    assert not is_listable(query)


@given(st.text(max_size=120).map(normalize_query))
def test_only_length_and_broken_characters_keep_a_query_out_of_lists(query):
    is_sound = len(query) <= MAX_QUERY_CHARACTERS and not any(
        c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cs") for c in query
    )
    if query and normalize_query(query) == query:
        assert is_listable(query) == is_sound


def test_duplicates_are_dropped_and_counted():
    assert parse_list("Red mug\ntea\nred  MUG \ntea", finished=True) == ParsedList(
        ("red mug", "tea"), None, 2
    )


def test_the_longest_query_is_allowed():
    longest = "a" * MAX_QUERY_CHARACTERS
    assert parse_list(longest, finished=True).queries == (longest,)


def test_merged_by_hand():
    lists = [["c"], ["a", "b"], ["b", "a"], ["d", "b"], ["c", "e"]]
    # b is in three lists, a in two; d and e in one, d at a better position.
    assert merge_lists(lists) == ["c", "b", "a", "d", "e"]
    assert merge_lists([[], ["b", "a"], ["a"]]) == ["a", "b"]
    assert merge_lists([["a", "b"]]) == ["a", "b"]


@given(st.lists(st.lists(st.sampled_from("abcdefg"), unique=True), min_size=1, max_size=6))
def test_merged_as_by_brute_force(lists):
    first, sampled = lists[0], lists[1:]
    merged = merge_lists(lists)
    assert merged[: len(first)] == first
    assert Counter(merged) == Counter({q for queries in lists for q in queries})

    def rank(query):
        places = [queries.index(query) for queries in sampled if query in queries]
        return (-len(places), min(places), query)

    rest = merged[len(first) :]
    assert all(rank(a) < rank(b) for a, b in pairwise(rest))
