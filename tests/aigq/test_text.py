"""Query identity on the cases that two careless implementations would disagree about."""

import sys
import unicodedata

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq.text import normalize_query, word_tokens
from aigq.warehouse import register_functions

CASES = {
    "plain": ("Red  MUG", "red mug"),
    "ends": ("\t red mug \r\n", "red mug"),
    "full width": ("ＲＥＤ　ＭＵＧ２", "red mug2"),
    "half-width kana": ("ｶﾞﾗｽ", "ガラス"),
    "ligature": ("Eﬃcient oﬀer", "efficient offer"),
    "superscript and fraction": ("10 m² ½ l", "10 m2 1⁄2 l"),
    "composed and decomposed": ("cafe\u0301", "caf\u00e9"),
    # str.lower keeps the dot of the Turkish capital as a combining character.
    "Turkish dotted I": ("\u0130PHONE", "i\u0307phone"),
    "dotless i": ("ISIK ışık", "isik ışık"),
    "final sigma": ("ΟΔΟΣ ΟΔΟΣ", "οδος οδος"),
    "sharp s stays": ("Straße STRASSE", "straße strasse"),
    "no-break space": ("red\u00a0\u202fmug", "red mug"),
    "line separators": ("red\u2028mug\u2029\x85\x1c2", "red mug 2"),
    "ideographic space": ("赤い\u3000コップ", "赤い コップ"),
    # No white space to str.split: stays, so it is another query.
    "zero width": ("red\u200bmug", "red\u200bmug"),
    "emoji": ("👩\u200d🚀 MUG", "👩\u200d🚀 mug"),
    "only white space": (" \u3000\u00a0\n", ""),
    "empty": ("", ""),
    "null": (None, None),
}


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as con:
        register_functions(con)
        yield con


@pytest.mark.parametrize(("given_text", "expected"), CASES.values(), ids=CASES)
def test_hard_cases(given_text, expected):
    assert normalize_query(given_text) == expected


def test_sql_function_is_the_python_function(con):
    texts = [text for text, _ in CASES.values()] * 1000  # more than one vector of DuckDB's
    con.execute("CREATE OR REPLACE TABLE texts AS SELECT unnest(?::VARCHAR[]) AS text", [texts])
    pairs = con.execute("SELECT text, normalize_query(text) FROM texts").fetchall()
    assert len(pairs) == len(texts)
    assert all(normalized == normalize_query(text) for text, normalized in pairs)


@given(st.text())
def test_a_normalised_text_is_one_line_without_outer_or_double_blanks(text):
    query = normalize_query(text)
    assert query.split() == ([] if not query else query.split(" "))
    assert len(query.splitlines()) <= 1


def test_nothing_with_a_letter_or_digit_normalises_to_nothing(con):
    """The contract's rule for empty queries calls Python only for texts without either."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character)[0] in "LN":
            assert normalize_query(character), hex(code)
    # And DuckDB's classes hold no white space, whatever its Unicode version.
    blanks = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    blanks = [c for c in blanks if not normalize_query(c)]
    assert len(blanks) > 20
    found = con.execute(
        r"SELECT count(*) FROM (SELECT unnest(?::VARCHAR[]) AS c)"
        r" WHERE regexp_matches(c, '[\p{L}\p{N}]')",
        [blanks],
    ).fetchone()
    assert found == (0,)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("连衣裙 夏季 2026", ["连", "衣", "裙", "夏", "季", "2026"]),
        ("コーヒー豆", ["コ", "ー", "ヒ", "ー", "豆"]),
        ("ソニーwh1000", ["ソ", "ニ", "ー", "wh1000"]),
        ("ｿﾆｰ tv", ["ソ", "ニ", "ー", "tv"]),
        ("ชุดเดรส", ["ชุ", "ด", "เ", "ด", "ร", "ส"]),
        ("Красные КРОССОВКИ", ["красные", "кроссовки"]),
        ("हिन्दी किताब", ["हिन्दी", "किताब"]),
        ("caf\u00e9 cafe\u0301", ["caf\u00e9", "caf\u00e9"]),
        ("iPhone手机壳", ["iphone", "手", "机", "壳"]),
        ("ＬＥＤ\u3000lamp", ["led", "lamp"]),
        ("!?  🙂", []),
    ],
)
def test_tokens_of_any_script(text, tokens):
    assert word_tokens(text) == tokens
