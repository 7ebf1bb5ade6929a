"""The truth beside the log is what the simulation drew from, and the log follows it."""

import re
from datetime import UTC, datetime

import numpy as np
import pytest

from aigq.settings import PROJECT_ROOT, UserError
from aigq.simulator.job import simulate
from aigq.simulator.landing import TRUTH_SCHEMAS
from aigq.simulator.settings import ShopSettings
from aigq.simulator.truth import Truth

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)


def _displayed(shop, every=1):
    """Of one in ``every`` requests: user, time, aim; texts, relevance, click, purchase by place."""
    rows = shop.execute(f"""
        select user_id, requested_at, any_value(aim),
            list(query_text order by c.position), list(relevance order by c.position),
            list(click_probability order by c.position),
            list(purchase_probability order by c.position)
        from truth.hints as h join hint_candidates as c using (request_id, rank)
        join hint_requests using (request_id) join truth.requests using (request_id)
        where c.displayed and c.position = h.position and hash(request_id) % {every} = 0
        group by request_id, user_id, requested_at""").fetchall()
    assert rows
    return zip(*rows, strict=True)


@pytest.mark.parametrize(("name", "every"), [("default_shop", 20), ("late_shop", 1)])
def test_scores_are_exactly_what_the_simulation_used(name, every, request):
    """Also for the user's later visits of a day with orders, and around midnight."""
    shop = request.getfixturevalue(name)
    users, times, aims, texts, relevance, click, purchase = _displayed(shop, every)
    total = shop.execute("select count(*) from hint_requests").fetchone()[0]
    assert len(users) == pytest.approx(total / every, rel=0.1)
    scores = Truth(shop.folder).score(users, times, texts, aims)
    assert (scores.relevance == np.array(relevance)).all()
    assert (scores.click[:, range(3), range(3)] == np.array(click)).all()
    assert (scores.purchase == np.array(purchase)).all()
    assert 0.05 < scores.relevance.mean() < 0.5


def test_clicks_happen_as_often_as_the_truth_says(default_shop):
    rows = default_shop.execute("""
        select position, floor(relevance * 4), count(*), avg((clicked_at is not null)::int),
            avg(click_probability), avg(is_examined::int)
        from truth.hints join hint_candidates using (request_id, rank, position)
        join truth.requests using (request_id)
        where not is_browsing group by all having count(*) > 2000""").fetchall()
    assert len(rows) >= 9
    settings = ShopSettings()
    for position, _, count, clicked, expected, examined in rows:
        spread = 4 * np.sqrt(expected / count)
        assert clicked == pytest.approx(expected, abs=spread + 1e-3)
        seen = settings.position_bias[position - 1]
        assert examined == pytest.approx(seen, abs=4 * np.sqrt(seen * (1 - seen) / count) + 1e-9)
    blind = """
        select count(*) from truth.hints join hint_candidates using (request_id, rank, position)
        join truth.requests using (request_id)
        where clicked_at is not null and (is_browsing or not is_examined)"""
    assert default_shop.execute(blind).fetchone()[0] == 0


def test_orders_after_a_clicked_hint_happen_as_often_as_the_truth_says(default_shop):
    rows = default_shop.execute("""
        with searches as (
            select *, lead(occurred_at, 1, '2027-01-01'::timestamptz) over (
                partition by user_id order by occurred_at) as until
            from events where action in ('search', 'search_entry', 'app_exit')),
        clicked as (
            select purchase_probability, count(o.event_id) > 0 as bought
            from truth.hints join hint_candidates using (request_id, rank)
            join hint_requests as r using (request_id)
            join searches as s on s.user_id = r.user_id and s.action = 'search'
                and s.occurred_at > clicked_at and s.occurred_at <= clicked_at + interval 1 second
            left join events as o on o.user_id = r.user_id and o.action = 'order'
                and o.occurred_at > s.occurred_at and o.occurred_at < s.until
            group by request_id, rank, purchase_probability)
        select count(*), avg(bought::int), avg(purchase_probability) from clicked
        group by purchase_probability > 0.15""").fetchall()
    assert len(rows) == 2
    for count, bought, expected in rows:
        assert bought == pytest.approx(expected, abs=4 * np.sqrt(expected / count))


def test_any_text_has_a_score(default_shop):
    truth = Truth(default_shop.folder)
    user, time, _, texts, *_ = next(zip(*_displayed(default_shop, 2000), strict=True))
    leaf = next(one for one in truth.language.catalog.leaves if len(one.name) > 8)
    asked = [
        leaf.name, leaf.synonym, leaf.name.upper(), leaf.name[:4] + leaf.name[5:],
        "quantum flux capacitor", "",
    ]  # fmt: skip
    users = [f"u{number:07d}" for number in range(2000)]
    scores = truth.score(users, [NOON] * len(users), [asked] * len(users))
    assert (scores.relevance[:, :4] == scores.relevance[:, :1]).all()
    assert (scores.relevance[:, 0] > 0).any()
    assert (scores.relevance[:, 4:] == 0).all()
    settings = truth.settings
    base = np.array(settings.position_bias) * np.array(settings.click_irrelevant)
    assert (scores.click[:, 4:] == base).all()
    assert (scores.purchase[:, 4] > 0).all()
    # Without the aim: the mean over what may have brought the user.
    one = truth.score([user], [time], [texts])
    aims = range(settings.interests)
    each = [truth.score([user], [time], [texts], [aim]).relevance[0] for aim in aims]
    assert (np.min(each, axis=0) <= one.relevance[0] + 1e-12).all()
    assert (one.relevance[0] <= np.max(each, axis=0) + 1e-12).all()


def test_the_documented_example(default_shop, capsys):
    page = (PROJECT_ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(example.replace("data/landing", str(default_shop.folder)), {})
    told = re.findall(r"\[+[0-9. ]+\]+", example.partition("print")[2])
    shown = capsys.readouterr().out.split("\n")[:-1]
    for printed, documented in zip(shown, told, strict=True):
        ours, theirs = (
            np.array(re.findall(r"[0-9.]+", text), dtype=float) for text in (printed, documented)
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_interests_fade_on_after_the_log(default_shop):
    truth = Truth(default_shop.folder)
    later = datetime(2026, 6, 1, tzinfo=UTC)
    leaf = truth.language.catalog.leaves[0].name
    scores = truth.score(["u0000001"] * 2, [NOON, later], [[leaf], [leaf]])
    assert np.isfinite(scores.relevance).all()


@pytest.mark.parametrize("user", ["u1", "u0010000", "x0000001", "", "u00000٣1"])
def test_unknown_users_are_named(default_shop, user):
    with pytest.raises(UserError, match=f"unknown user '{user}'"):
        Truth(default_shop.folder).score([user], [NOON], [["a"]])


def test_times_before_the_shop(default_shop):
    with pytest.raises(ValueError, match="day 1"):
        Truth(default_shop.folder).score(["u0000001"], [datetime(2026, 1, 4, tzinfo=UTC)], [["a"]])


def test_a_folder_without_truth(tmp_path):
    with pytest.raises(UserError, match="expected a simulated shop"):
        Truth(tmp_path)


def test_the_truth_tells_nothing_twice_and_leaves_no_hint_out(default_shop):
    for table, key in (
        ("requests", "request_id"),
        ("hints", "(request_id, position)"),
        ("hints", "(request_id, rank)"),
    ):
        query = f"select count(*) - count(distinct {key}) from truth.{table}"
        assert default_shop.execute(query).fetchone()[0] == 0
    counts = "select (select count(*) from truth.hints), 3 * (select count(*) from hint_requests)"
    hints, shown = default_shop.execute(counts).fetchone()
    assert hints == shown


def test_truth_of_a_shop_that_another_replaced(tmp_path):
    simulate(ShopSettings(users=60, days=2), tmp_path)
    simulate(ShopSettings(users=50, days=3), tmp_path)
    assert Truth(tmp_path).settings == ShopSettings(users=50, days=3)
    assert len(list((tmp_path / "truth").iterdir())) == len(TRUTH_SCHEMAS) + 1
