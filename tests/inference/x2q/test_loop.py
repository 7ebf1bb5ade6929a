"""From traces to the page: Think, scores, dbt, Feast, hints."""

import json

import pytest

from aigq.think import InterestPoint, render_think

VARIABLES = {"shop_timezone": "Asia/Tokyo", "train_days": 4}


@pytest.mark.torch
@pytest.mark.e2e
def test_what_think_said_is_shown_after_a_click(
    shop, aigq, script, run_dbt, run_feast, monkeypatch
):
    """Line 12 is the newest behaviour, i0; line 10 is i1. The online store still has the index
    before, in which "red shoes" led to "scarf"."""
    points = [
        InterestPoint((12,), ("tea pot", "water filter"), "A kettle is for tea."),
        InterestPoint((10,), ("desk",), "A chair stands at a desk."),
    ]
    script(lambda _: (render_think(points), True))
    before = json.loads(aigq("hints", "u3", "--json").stdout)
    assert ["scarf", "query:red shoes"] in [
        [h["query"], h["why"]["trigger"]] for h in before["hints"] if h["why"]
    ]
    aigq("generate", "x2q")
    aigq("generate", "x2q_scores")
    run_dbt(shop, "run", "-s", "x2q_index", "features.x2q", variables=VARIABLES)
    # The copy's registry names the files of the shop it was copied from.
    run_feast(shop, "apply")
    run_feast(shop, "materialize", "-v", "x2q", "--", "2026-01-01T00:00:00", "2026-04-01T00:00:00")

    found = json.loads(aigq("hints", "u3", "--clicked", "i1", "--json").stdout)
    # Their newest behaviours: i1 now, i0 and "red shoes" before, and both items' categories.
    assert found["triggers"][:3] == ["item:i1", "item:i0", "query:red shoes"]
    assert found["stale_triggers"] == ["query:red shoes"]
    hints = {h["query"]: h for h in found["hints"]}
    assert hints["desk"]["sources"] == ["x2q"]
    assert hints["desk"]["why"] | {"score": None} == {
        "trigger": "item:i1",
        "trigger_text": "Chair 2000, Chair",
        "rationale": "A chair stands at a desk.",
        "score": None,
        "model_version": "t1",
    }
    assert hints["tea pot"]["why"]["rationale"] == "A kettle is for tea."
    assert hints["tea pot"]["why"]["score"] > hints["water filter"]["why"]["score"] > 0
    assert "scarf" not in hints
    monkeypatch.setenv("COLUMNS", "100")
    page = aigq("hints", "u3", "--clicked", "i1").stdout
    assert "clicked Chair 2000, Chair" in page and "why: A chair stands at a desk." in page
    assert "1 left out, no longer in the index" in page
    # A category leads where its items do.
    other = json.loads(aigq("hints", "nobody", "--clicked", "i0", "--json").stdout)
    assert other["triggers"] == ["item:i0", "category:c0"]
    assert other["recalled"]["x2q"] == 4 and other["displayed"][0] == "tea pot"
