"""The CTR scorer: any context, any query, whatever else is scored beside them."""

import json

import numpy as np
import pytest
import torch

from aigq import ctr
from aigq.context import Behavior, Context
from aigq.ctr_network import Behaviors, CtrConfig, CtrNetwork, contrast_loss, text_shape
from aigq.hashing import text_features
from aigq.settings import Home, UserError

CONFIG = CtrConfig(
    (("18-24", "25-34"), ("f", "m"), ()), width=16, heads=4, hidden=8, buckets=512, max_behaviors=5
)
TEXTS = ["tent", "Dome tent, green", "寝袋", "lamp", "Straße 7", "garden hose"]


@pytest.fixture(scope="module")
def network() -> CtrNetwork:
    torch.manual_seed(1)
    found = CtrNetwork(CONFIG)
    # All weights count: none may be zero as it starts.
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return found.eval()


def context(rng: np.random.Generator, size: int) -> Context:
    return Context(
        (str(rng.choice(["18-24", "25-34", "99"])), "f", None),
        tuple(
            Behavior(int(rng.integers(0, 70)), str(rng.choice(["search", "order"])), text)
            for text in rng.choice(TEXTS, size).tolist()
        ),
    )


def test_a_score_does_not_depend_on_its_company(network):
    rng = np.random.default_rng(0)
    contexts = [context(rng, size) for size in (0, 1, 5, 9, 3, 0, 40)]
    queries = [rng.choice(TEXTS, size).tolist() for size in (3, 1, 6, 2, 0, 1, 4)]
    together = ctr.CtrScorer(network).score(contexts, queries)
    assert [len(row) for row in together] == [3, 1, 6, 2, 0, 1, 4]
    assert all(row.dtype == np.float32 and ((row > 0) & (row < 1)).all() for row in together)
    again = ctr.CtrScorer(network)
    for i in reversed(range(len(contexts))):
        for place, query in enumerate(queries[i]):
            (alone,) = again.score([contexts[i]], [[query]])
            assert alone[0] == pytest.approx(together[i][place], abs=1e-6)
    assert np.ptp(np.concatenate(together)) > 0.01, "all the same: the comparison proves little"
    # And the very same when asked again, from what was kept.
    scorer = ctr.CtrScorer(network)
    for first, second in zip(
        scorer.score(contexts, queries), scorer.score(contexts, queries), strict=True
    ):
        assert (first == second).all()


def test_only_the_newest_behaviours_count(network):
    rng = np.random.default_rng(1)
    long = context(rng, 30)
    scorer = ctr.CtrScorer(network)
    full, cut = scorer.score([long, long.newest(5)], [TEXTS, TEXTS])
    assert (full == cut).all()
    (fewer,) = scorer.score([long.newest(4)], [TEXTS])
    assert np.abs(full - fewer).max() > 1e-4


def test_profile_action_day_and_order_count(network):
    base = Context(
        ("18-24", "f", None), (Behavior(1, "search", "tent"), Behavior(0, "order", "lamp"))
    )
    others = [
        Context(("25-34", "f", None), base.behaviors),
        Context(base.profile, (Behavior(1, "cart", "tent"), base.behaviors[1])),
        Context(base.profile, (Behavior(9, "search", "tent"), base.behaviors[1])),
        Context(base.profile, (Behavior(1, "search", "hose"), base.behaviors[1])),
        Context(base.profile, base.behaviors[:1]),
    ]
    scorer = ctr.CtrScorer(network)
    (score,) = scorer.score([base], [["tent"]])
    for other in others:
        (changed,) = scorer.score([other], [["tent"]])
        assert abs(changed[0] - score[0]) > 1e-5, other


def test_unknown_profile_values_are_one_unknown(network):
    behaviors = (Behavior(1, "search", "tent"),)
    unknown, never_seen = ctr.CtrScorer(network).score(
        [Context((None, None, None), behaviors), Context(("?", "x", "mars"), behaviors)],
        [TEXTS] * 2,
    )
    assert (unknown == never_seen).all()


def test_any_text_is_a_query(network):
    odd = ["", "  ", "🙂", "never seen before", "a" * 3000, "\u0000", "ＴＥＮＴ", "tent"]
    (scores,) = ctr.CtrScorer(network).score([Context()], [odd])
    assert np.isfinite(scores).all()
    assert scores[-1] == scores[-2], "normalised texts are one query"


def test_features_are_the_same_everywhere_and_words_share_them():
    """Numbers by hand (zlib.crc32): another hash would make every published model nonsense."""
    assert text_features("tent", 1 << 16).tolist() == [17958, 4624, 60611, 51747, 9173, 40545]
    tent, tents, stove = (set(text_features(t, 1 << 16)) for t in ("tent", "dome tents", "stove"))
    assert len(tent & tents) >= 3 > len(tent & stove)
    chinese = [set(text_features(text, 1 << 16)) for text in ("红色鞋子", "鞋")]
    assert chinese[0] & chinese[1]


def test_what_follows_what_is_told_from_the_others_by_hand():
    """Ann did 0 then 1 on one day, Bob 2 then 3. Cy did 0 and a day later 2, Di 1 twice: neither
    counts. One head of two numbers: scores are products over the root of two."""
    network = CtrNetwork(CtrConfig(width=2, heads=1, hidden=2, buckets=64))
    vectors = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    behaviors = Behaviors(
        text=torch.tensor([[0, 1], [2, 3], [0, 2], [1, 1]]),
        action=torch.zeros(4, 2, dtype=torch.long),
        days_ago=torch.tensor([[1, 1], [0, 0], [2, 1], [5, 5]]),
        length=torch.tensor([2, 2, 2, 2]),
        profile=torch.zeros(4, 3, dtype=torch.long),
    )
    right, wrong = np.array([2.0, 3.0]) / np.sqrt(2), 0.0
    expected = -np.log(np.exp(right) / (np.exp(right) + np.exp(wrong))).mean()
    assert network.following_loss(behaviors, vectors).item() == pytest.approx(expected, abs=1e-5)
    alone = Behaviors(*(part[2:] for part in behaviors))
    assert network.following_loss(alone, vectors).item() == 0


def test_a_next_search_is_told_from_the_rest_by_hand():
    """The first of each row against those that count; Cy's row has no search. Sharpness 2."""
    logits = torch.tensor([[1.0, 0.0, 9.0], [0.5, 0.5, 0.0], [7.0, 8.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    ann = -np.log(np.exp(2) / (np.exp(2) + 1))
    bob = -np.log(np.exp(1) / (2 * np.exp(1) + 1))
    found = contrast_loss(logits, mask, 2.0).item()
    assert found == pytest.approx((ann + bob) / 2, abs=1e-6)
    # A user's inclination to click, the same for all of a row, is left to the clicks.
    level = torch.tensor([[3.0], [-1.0], [0.0]])
    assert contrast_loss(logits + level, mask, 2.0).item() == pytest.approx(found, abs=1e-6)
    assert contrast_loss(logits, torch.zeros_like(mask), 2.0).item() == 0


def test_shapes_by_hand():
    """Words up to nine; ten more where one comes again. Published tables depend on it."""
    texts = ["", "tent", "Dome tent, green", "tent TENT", "a b c d e f g h i j k", "a " * 12]
    assert [text_shape(text) for text in texts] == [0, 1, 3, 12, 9, 19]
    # Vowels that are marks, and joiners, part no words.
    marked = ["पानी की बोतल", "पानी पूरी", "தமிழ் நூல்", "می\u200cخواهم كِتاب", "cafe\u0301 noir"]
    assert [text_shape(text) for text in marked] == [3, 2, 2, 2, 2]


def test_a_word_with_marks_is_one_feature():
    whole = text_features("पानी", 1 << 30)
    assert set(text_features("पानी पूरी", 1 << 30)) >= set(whole[1:]), "its word and its trigrams"
    assert len(whole) == 1 + 1 + 4


def test_what_is_kept_is_bounded(network, monkeypatch):
    monkeypatch.setattr(ctr, "_CONTEXTS_KEPT", 3)
    monkeypatch.setattr(ctr, "_TEXTS_KEPT", 4)
    rng = np.random.default_rng(2)
    contexts = [context(rng, 6) for _ in range(20)]
    scorer = ctr.CtrScorer(network)
    kept = ctr.CtrScorer(network).score(contexts, [TEXTS] * 20)
    for expected, found in zip(kept, scorer.score(contexts, [TEXTS] * 20), strict=True):
        assert (expected == found).all()
    assert len(scorer._contexts._values) == 3
    assert len(scorer._texts._values) == 4


def test_lists_that_do_not_pair_up_are_refused(network):
    with pytest.raises(ValueError, match="2 contexts, but 1 lists"):
        ctr.CtrScorer(network).score([Context(), Context()], [["tent"]])


def test_a_model_is_loaded_as_it_was_saved(network, tmp_path):
    home = Home(tmp_path)
    folder = home.models / "ctr" / "v1"
    folder.mkdir(parents=True)
    ctr.save(network, folder)
    (folder / "manifest.json").write_text("{}")
    (loaded,) = ctr.load(home, "ctr").score([Context()], [TEXTS])
    (direct,) = ctr.CtrScorer(network).score([Context()], [TEXTS])
    assert (loaded == direct).all()
    assert not list(folder.glob("*.bin")) and not list(folder.glob("*.pt"))


@pytest.mark.parametrize("break_it", ["no weights", "other shape", "not json"])
def test_what_is_no_ctr_model_says_so(network, tmp_path, break_it):
    home = Home(tmp_path)
    folder = home.models / "direct" / "v1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    ctr.save(network, folder)
    config = json.loads((folder / ctr.CONFIG).read_text())
    if break_it == "no weights":
        (folder / ctr.WEIGHTS).unlink()
    elif break_it == "other shape":
        (folder / ctr.CONFIG).write_text(json.dumps(config | {"width": 8}))
    else:
        (folder / ctr.CONFIG).write_text("{")
    with pytest.raises(UserError, match="holds no CTR model"):
        ctr.load(home, "direct")
    with pytest.raises(UserError, match="no model 'other'"):
        ctr.load(home, "other")
