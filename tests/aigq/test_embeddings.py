"""Embeddings are the same whether they were kept, made now, or some of each."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq import embeddings
from aigq.settings import Home, UserError


class Encoder:
    """A vector for every text, and a list of what was asked; fails from call ``fails_at`` on."""

    def __init__(self, fails_at=None):
        self.asked, self.calls, self.fails_at = [], 0, fails_at

    def encode(self, texts, **_):
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        self.asked += texts
        return np.stack([vector(text) for text in texts])


def vector(text: str) -> np.ndarray:
    seed = hashlib.sha256(text.encode()).digest()[:8]
    numbers = np.random.default_rng(int.from_bytes(seed)).normal(size=embeddings.DIMENSIONS)
    return numbers.astype(np.float32)


def vectors(texts) -> np.ndarray:
    return np.array([vector(t) for t in texts], "f4").reshape(-1, embeddings.DIMENSIONS)


@pytest.fixture
def encoder(monkeypatch):
    def install(**how):
        made = Encoder(**how)
        monkeypatch.setattr(embeddings, "_encoder", lambda: made)
        return made

    return install


def test_only_what_is_missing_is_embedded(tmp_path, encoder):
    made, home = encoder(), Home(tmp_path)
    first = embeddings.embed(["tea", "kettle", "tea"], home=home)
    assert sorted(made.asked) == ["kettle", "tea"]
    made.asked.clear()
    second = embeddings.embed(["kettle", "茶 壶", "tea"], home=home)
    assert made.asked == ["茶 壶"]
    assert np.array_equal(first, vectors(["tea", "kettle", "tea"]))
    assert np.array_equal(second, vectors(["kettle", "茶 壶", "tea"]))


def test_nothing_is_kept_without_a_home(tmp_path, encoder, monkeypatch):
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    made = encoder()
    embeddings.embed(["tea"])
    embeddings.embed(["tea"])
    assert made.asked == ["tea", "tea"]
    assert not list(tmp_path.iterdir())


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=12)


@given(st.lists(texts, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_texts_in_any_order(batches):
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "_encoder", Encoder)
        patch.setattr(embeddings, "_CHUNK", 3)
        for batch in batches:
            found = embeddings.embed(batch, home=Home(Path(folder)))
            assert np.array_equal(found, vectors(batch))


def test_what_was_embedded_before_a_kill_is_kept(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(embeddings, "_CHUNK", 2)
    home, texts = Home(tmp_path), ["a", "bb", "ccc", "dddd", "eeeee"]
    encoder(fails_at=3)
    with pytest.raises(KeyboardInterrupt):
        embeddings.embed(texts, home=home)
    made = encoder()
    assert np.array_equal(embeddings.embed(texts, home=home), vectors(texts))
    assert made.asked == ["eeeee"]


def test_several_at_once(tmp_path, encoder):
    encoder()
    batches = [[f"text {i + shift}" for i in range(300)] for shift in (0, 100, 200, 300)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda b: embeddings.embed(b, home=Home(tmp_path)), batches))
    for batch, of in zip(batches, found, strict=True):
        assert np.array_equal(of, vectors(batch))


def test_a_broken_file_is_named(tmp_path, encoder):
    encoder()
    home = Home(tmp_path)
    home.cache.mkdir()
    (home.cache / "all-MiniLM-L6-v2.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match=r"all-MiniLM-L6-v2\.sqlite: .*remove it"):
        embeddings.embed(["tea"], home=home)
