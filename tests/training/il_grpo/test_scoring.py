"""Rollouts to rewards, by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aigq import embeddings
from aigq.context import Context
from aigq.spans import OTHER, PADDING, TRIGGER
from training.il_grpo.scoring import TERMS

NAN = float("nan")


def test_a_direct_list_by_hand(make_scorer, make_task, ids_of):
    """Click .2 * 4 = .8; "red shoes" is the reference, "red lamp" shares one word of two with "blue
    lamp" (F1 .5), the third has no reference; length in bounds but for "x"."""
    scorer = make_scorer(
        {"red shoes": 0.2, "x": 0.9}, weight_ctr=1.0, weight_rouge=0.5, weight_length=0.1
    )
    task = make_task("red shoes", "blue lamp")
    found = scorer.score([task, task], [ids_of("red shoes\nred lamp\nx"), ids_of("blue lamp")])
    expected = [
        [0.8 + 0.5 * 1 + 0.1, 0.4 + 0.5 * 0.5 + 0.1, 1.0 + 0 + 0],
        [0.4 + 0 + 0.1, NAN, NAN],
    ]
    torch.testing.assert_close(found.query, torch.tensor(expected), equal_nan=True)
    # Half of the reference's slots are filled by the second.
    torch.testing.assert_close(found.sequence, torch.tensor([1.0, 0.5]))
    assert found.trigger is None
    assert found.errors == [None, None]
    assert found.queries == [("red shoes", "red lamp", "x"), ("blue lamp",)]
    by_name = dict(zip(TERMS, found.terms.T.tolist(), strict=True))
    assert by_name["ctr"] == pytest.approx([2.2, 0.4])
    assert by_name["rouge"] == pytest.approx([0.75, 0.0])
    assert by_name["length"] == pytest.approx([0.2, 0.1])
    assert by_name["format"] == [1, 0.5]
    assert by_name["duplicates"] == [0, 0]
    assert by_name["triggers"] == [0, 0]


def test_a_click_on_a_repeated_query_is_paid_once(make_scorer, make_task, ids_of):
    """It is displayed once; likeness to the reference and length count as ever."""
    scorer = make_scorer({"red shoes": 0.2}, weight_ctr=1.0, weight_rouge=0.5, weight_length=0.1)
    task = make_task("gift card", "red shoes", "red shoes")
    found = scorer.score([task], [ids_of("red shoes\nRED  shoes\nlamp")])
    assert found.by_slot[0, :, 0].tolist() == pytest.approx([0.8, 0.0, 0.4])
    assert found.query[0].tolist() == pytest.approx([0.9, 0.6, 0.5])


def test_two_points_may_propose_the_same(make_scorer, make_task, ids_of):
    """x2q counts how many of a trigger's points propose a query; a point says it once."""
    task = make_task("gift card", triggers=((1,), (2,)))
    text = "1|Why.\n2|So.\n\n1|1\tred shoes\tred shoes\n2|2\tred shoes"
    found = make_scorer({"red shoes": 0.2}, weight_ctr=1.0).score([task], [ids_of(text)])
    assert found.by_slot[0, :, 0].tolist() == pytest.approx([0.8, 0.0, 0.8])


def test_the_terms_add_up_to_what_is_rewarded(make_scorer, make_task, ids_of):
    """Canonical GRPO maximises the sum of what IL-GRPO takes apart."""
    task = make_task("red shoes", "blue lamp", triggers=((1,), (2,)))
    texts = ["1|Why.\n2|So.\n\n1|1\tred shoes\n2|1,2\tlamp\tred shoes", "no end", "1|\n\n1|1\tx"]
    found = make_scorer().score([task] * 3, [ids_of(text) for text in texts])
    total = found.query.nansum(1) + found.sequence + found.trigger
    torch.testing.assert_close(found.terms.sum(1), total)


def test_a_broken_list_has_no_slots_and_no_reward(make_scorer, make_task, ids_of):
    found = make_scorer().score(
        [make_task("red shoes")] * 3,
        [ids_of("red shoes", end=False), ids_of("red shoes\n\nlamp"), ids_of("red shoes")],
    )
    assert found.errors == ["truncated", "empty_query", None]
    assert found.query[:2].isnan().all()
    assert found.sequence.tolist() == [0, 0, 1]
    assert set(found.spans[0].tolist()) <= {OTHER, PADDING}


def test_spans_are_padded_to_the_longest(make_scorer, make_task, ids_of):
    short, long = ids_of("lamp"), ids_of("red shoes\nblue lamp\ngift card")
    found = make_scorer().score([make_task("lamp")] * 2, [short, long])
    assert found.spans.shape == (2, len(long))
    assert (found.spans[0, len(short) :] == PADDING).all()
    assert found.spans[1].max() == 2


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("red shoes\nRED  shoes", 0.5),  # the same once normalised
        ("red shoes\nlamp\nred shoe", 1 / 3),  # near by its embedding
        ("red shoes\nlamp", 0),
    ],
)
def test_repeats_cost(make_scorer, make_task, ids_of, text, share):
    found = make_scorer(near_duplicate=0.9).score([make_task("lamp")], [ids_of(text)])
    repeats = found.terms[0, TERMS.index("duplicates")]
    assert float(repeats) == pytest.approx(-share)


def test_repeats_fill_no_slot(make_scorer, make_task, ids_of):
    """To repeat oneself is worth less than to stop."""
    texts = ("red shoes", "red shoes\nred shoes", "red shoes\nlamp")
    found = make_scorer().score([make_task("gift card", "lamp")] * 3, [ids_of(t) for t in texts])
    assert found.sequence.tolist() == [0.5, 0.0, 1.0]


def test_blanks_that_should_not_be_cost_format(make_scorer, make_task, ids_of):
    """Two of four lines: a blank too many, and nothing but a dash."""
    found = make_scorer().score([make_task("lamp")], [ids_of("red shoes\nlamp \n-\ngift card")])
    assert found.errors == [None]
    assert float(found.terms[0, TERMS.index("format")]) == 0.5


@pytest.mark.parametrize("rationale", ["!!!", " Why.", "Why  not."])
def test_a_rationale_is_judged_without_its_number(make_scorer, make_task, ids_of, rationale):
    completion = ids_of(f"1|{rationale}\n\n1|1\tred shoes")
    task = make_task("red shoes", triggers=((1,),))
    found = make_scorer().score([task], [completion])
    assert found.errors == [None]
    # Of rationale, trigger set and query, two are as specified.
    assert float(found.terms[0, TERMS.index("format")]) == pytest.approx(2 / 3)


def test_think_by_hand(make_scorer, make_task, ids_of):
    """Point 1's triggers are the reference's, of point 2's two one is (F1 2/3): mean 5/6. The third
    query, of point 2, is compared with the reference's third."""
    task = make_task("red shoes", "lamp", "gift card", triggers=((1,), (2,)))
    text = "1|Why.\n2|So.\n\n1|1\tred shoes\n2|1,2\tlamp\tgift card"
    found = make_scorer(weight_ctr=0.0, weight_rouge=1.0, weight_length=0.0).score(
        [task, task], [ids_of(text), ids_of("1|Why.\n\n1|3\tlamp")]
    )
    torch.testing.assert_close(found.trigger, torch.tensor([5 / 6, 0.0]))
    torch.testing.assert_close(
        found.query, torch.tensor([[1.0, 1.0, 1.0], [NAN] * 3]), equal_nan=True
    )
    assert found.errors == [None, "trigger_out_of_range"]
    assert (found.spans[0] == TRIGGER).any()
    assert not (found.spans[1] == TRIGGER).any()


class Clicks:
    """A tenth for each behaviour of the shopper; remembers whether it was told to forget."""

    forgot = 0

    def score(self, contexts, queries):
        return [
            np.full(len(q), len(c.behaviors) / 10) for c, q in zip(contexts, queries, strict=True)
        ]

    def forget(self):
        self.forgot += 1


def test_clicks_are_those_of_the_rollouts_shopper(make_scorer, make_task, ids_of):
    two = make_task("lamp")
    one = replace(two, context=Context(behaviors=two.context.behaviors[:1]))
    none = replace(two, context=Context())
    scorer = make_scorer(clicks=Clicks(), weight_ctr=1.0, ctr_scale=4.0)
    found = scorer.score([one, two, none, one], [ids_of("lamp")] * 4)
    assert found.by_slot[:, 0, 0].tolist() == pytest.approx([0.4, 0.8, 0.0, 0.4])


def test_triggers_are_among_the_lines_that_the_prompt_held(make_scorer, make_task, ids_of):
    """Of two behaviours the prompt had room for the newest one: there is no line 2."""
    whole = make_task("lamp", triggers=((1,),))
    cut = replace(whole, kept=1)
    completion = ids_of("1|Why.\n\n1|2\tlamp")
    found = make_scorer().score([whole, cut], [completion] * 2)
    assert found.errors == [None, "trigger_out_of_range"]


def test_rewards_are_clipped(make_scorer, make_task, ids_of):
    scorer = make_scorer({"lamp": 1.0}, weight_ctr=100.0, reward_clip=2.0)
    found = scorer.score([make_task("lamp")], [ids_of("lamp")])
    assert float(found.query[0, 0]) == 2.0
    scorer = make_scorer(reward_clip=0.25)
    found = scorer.score([make_task("lamp", triggers=((1,),))], [ids_of("1|Why.\n\n1|1\tlamp")])
    assert (float(found.sequence), float(found.trigger)) == (0.25, 0.25)
    four = make_task("lamp", "a", "b", "c")
    repeated = scorer.score([four], [ids_of("lamp\nlamp\nlamp\nlamp")])
    assert float(repeated.sequence) == -0.25


def test_forgetting_embeds_and_encodes_anew(make_scorer, make_task, ids_of, monkeypatch):
    asked = []
    embed = embeddings.embed
    monkeypatch.setattr(embeddings, "embed", lambda texts: asked.extend(texts) or embed(texts))
    clicks = Clicks()
    scorer = make_scorer(clicks=clicks)
    for _ in range(2):
        scorer.score([make_task("lamp")], [ids_of("red lamp")])
    assert asked == ["red lamp"]
    scorer.forget()
    scorer.score([make_task("lamp")], [ids_of("red lamp")])
    assert asked == ["red lamp"] * 2 and clicks.forgot == 1
