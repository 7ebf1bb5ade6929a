"""Descriptions of items: what they are made of, and what is not one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq.item_text import (
    MAX_CHARACTERS,
    MAX_WORDS,
    description,
    facets_text,
    fit_item_prompts,
    text_fault,
)
from aigq.text import normalize_query

ITEM = {
    "item_id": "i1",
    "title": "Acme\nRunner",
    "leaf_category": "Shoes",
    "category_path": "Sport > Shoes",
    "brand": None,
    "attributes": ["color: red", "size: 40"],
    "tags": [],
    "price_band": "20 to 50",
    "facets_hash": "h",
}


class Letters:
    """One token per character."""

    def __call__(self, texts, **_):
        return {"input_ids": [[ord(c) for c in text] for text in texts]}


def test_each_word_once_most_credited_first():
    queries = ["red running shoes", "sneakers", "red acme shoes", "shoes"]
    assert description(queries) == "red running shoes, sneakers, acme"


def test_at_most_twelve_words():
    assert description([" ".join(map(str, range(20)))]) == "0 1 2 3 4 5 6 7 8 9 10 11"
    assert description(["a b", "x" * 130, "c"]) == "a b, c"
    assert description(["bad\u0007query"]) == ""


@given(st.lists(st.text(max_size=50).map(normalize_query).filter(bool), max_size=8))
def test_a_description_is_well_formed_and_says_no_word_twice(queries):
    text = description(queries)
    if text:
        assert text_fault(text, finished=True) is None
    assert len(text) <= MAX_CHARACTERS
    assert sum(len(p.split()) for p in text.split(", ")) <= MAX_WORDS or "," in "".join(queries)


def test_facets_are_lines_without_the_unknown():
    assert facets_text(ITEM) == (
        "title: Acme Runner\ncategory: Sport > Shoes\nprice: 20 to 50\n"
        "attributes: color: red; size: 40"
    )


def test_a_long_prompt_loses_its_facets_end_but_not_its_own():
    (ids,) = fit_item_prompts([ITEM], Letters(), max_tokens=40)
    text = "".join(map(chr, ids))
    assert len(text) == 40
    assert text.startswith("title: Acme Runner") and text.endswith("\ndescription: ")


@pytest.mark.parametrize(
    ("text", "finished", "fault"),
    [
        ("red shoes, sneakers", True, None),
        ("red shoes", False, "truncated"),
        (" ", True, "empty"),
        ("red\nshoes", True, "invalid_text"),
        ("red \ufffd", True, "invalid_text"),
        ("a\u0000", True, "invalid_text"),
        ("x" * (MAX_CHARACTERS + 1), True, "long_text"),
    ],
)
def test_what_is_no_description(text, finished, fault):
    assert text_fault(text, finished=finished) == fault
