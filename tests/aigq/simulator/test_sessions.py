"""What the log says, read as an analyst would: by SQL over the written files."""

import duckdb
import numpy as np
import pytest

from aigq.settings import recipe_path
from aigq.simulator import catalog, queries, sessions
from aigq.simulator.job import simulate
from aigq.simulator.seasons import Seasons
from aigq.simulator.settings import ShopSettings


def _value(shop, query: str):
    return shop.execute(query).fetchone()[0]


def test_times_lie_inside_the_calendar_and_after_registration(default_shop):
    first, last = default_shop.execute(
        "select min(occurred_at)::varchar, max(occurred_at)::varchar from events"
    ).fetchone()
    assert first.startswith("2026-01-05 0")
    assert last.startswith("2026-02-05 23")
    for table, column in (("events", "occurred_at"), ("hint_requests", "requested_at")):
        joined = f"{table} join users using (user_id)"
        early = f"select count(*) from {joined} where {column} < registered_at"
        assert _value(default_shop, early) == 0
    outside = "select count(*) from hint_candidates where clicked_at >= '2026-02-06 00:00:00+00'"
    assert _value(default_shop, outside) == 0


def test_no_two_events_of_a_user_at_once(default_shop):
    assert (
        _value(
            default_shop,
            "select count(*) - count(distinct (user_id, occurred_at)) from events",
        )
        == 0
    )


def test_references_hold(default_shop):
    for child, key, parent in (
        ("events", "user_id", "users"),
        ("events", "item_id", "items"),
        ("hint_requests", "user_id", "users"),
        ("hint_candidates", "request_id", "hint_requests"),
        ("hint_requests", "request_id", "hint_candidates"),
    ):
        orphans = (
            f"select count(*) from {child} where {key} is not null"
            f" and {key} not in (select {key} from {parent})"
        )
        assert _value(default_shop, orphans) == 0, (child, key)
    for table, key in (
        ("users", "user_id"),
        ("items", "item_id"),
        ("events", "event_id"),
        ("hint_requests", "request_id"),
        ("hint_candidates", "(request_id, rank)"),
    ):
        assert _value(default_shop, f"select count(*) - count(distinct {key}) from {table}") == 0


def test_columns_follow_the_action(default_shop):
    wrong = """
        select count(*) from events where
            (query_text is not null) != (action = 'search')
            or (item_id is not null) != (action in ('item_click', 'cart', 'order'))
            or (quantity is not null) != (action in ('cart', 'order'))
            or (price is not null) != (action in ('cart', 'order'))
            or quantity < 1 or price <= 0 or trim(query_text) = ''"""
    assert _value(default_shop, wrong) == 0
    assert _value(default_shop, "select count(distinct action) from events") == 6


def test_three_hints_are_displayed_and_only_they_are_clicked(default_shop):
    wrong = """
        select count(*) from (
            select request_id,
                count(*) filter (displayed) as shown,
                list(position order by position) filter (displayed) as positions,
                count(*) filter (not displayed and (clicked_at is not null or position is not null))
                    as wrong,
                count(*) as scored, max(rank) as last, count(distinct query_text) as texts
            from hint_candidates group by request_id
        ) where shown != 3 or positions != [1, 2, 3] or wrong > 0
            or scored not between 10 and 20 or last != scored or texts != scored"""
    assert _value(default_shop, wrong) == 0
    out_of_order = """
        select count(*) from (
            select rank_score > lag(rank_score) over (partition by request_id order by rank) as up
            from hint_candidates
        ) where up"""
    assert _value(default_shop, out_of_order) == 0


def test_a_clicked_hint_is_followed_by_its_search(default_shop):
    """By the same user, of the same text, within a second, and each click by its own."""
    clicks, searches = default_shop.execute("""
        with clicks as (
            select * from hint_candidates join hint_requests using (request_id)
            where clicked_at is not null
        )
        select count(*), count(distinct event_id) from clicks left join events
            on events.user_id = clicks.user_id and events.query_text = clicks.query_text
            and action = 'search' and occurred_at > clicked_at
            and occurred_at <= clicked_at + interval 1 second
    """).fetchone()
    assert clicks == searches > 10_000
    assert (
        _value(default_shop, "select count(*) from hint_candidates where clicked_at is not null")
        == clicks
    )
    late = """
        select count(*) from hint_candidates join hint_requests using (request_id)
        where clicked_at <= requested_at or clicked_at > requested_at + interval 15 minute"""
    assert _value(default_shop, late) == 0


@pytest.mark.parametrize("name", ["small_shop", "late_shop"])
def test_the_ranker_uses_the_past_only(name, request):
    """Own candidates were searched by this user before the request; all others by anyone before
    the day of the request, unless they are an editor's: the plain name of a leaf."""
    shop = request.getfixturevalue(name)
    shop.execute("""
        create or replace temp table searches as
        select user_id, lower(query_text) as query_text, occurred_at
        from events where action = 'search'""")
    future = """
        select count(*) from hint_candidates as c join hint_requests as r using (request_id)
        where recall_source = 'own' and not exists (
            select 1 from searches as s where s.user_id = r.user_id
            and s.query_text = c.query_text and s.occurred_at < r.requested_at)"""
    assert _value(shop, future) == 0
    future = """
        with first_seen as (
            select query_text, min(occurred_at) as first_at from searches group by query_text)
        select count(*) from hint_candidates as c join hint_requests as r using (request_id)
        left join first_seen using (query_text)
        where recall_source != 'own'
            and (first_at is null or first_at >= date_trunc('day', requested_at))
            and c.query_text not in (select lower(leaf_category) from items)"""
    assert _value(shop, future) == 0
    assert _value(shop, "select count(*) from hint_candidates where recall_source = 'own'") > 1000


def test_default_size_and_language(default_shop):
    """The aims of the default shop: about 600,000 events, 90,000 requests, half of the distinct
    queries asked once; one to four words."""
    assert 540_000 < _value(default_shop, "select count(*) from events") < 660_000
    assert 81_000 < _value(default_shop, "select count(*) from hint_requests") < 99_000
    default_shop.execute("""
        create or replace temp table asked as
        select lower(query_text) as query_text, count(*) as n
        from events where action = 'search' group by all""")
    assert 0.40 < _value(default_shop, "select avg((n = 1)::int) from asked") < 0.50
    assert 20_000 < _value(default_shop, "select count(*) from asked") < 40_000
    words = "select max(len(string_split(query_text, ' '))) from asked"
    assert _value(default_shop, words) == 4
    forms = """
        select count(*) filter (query_text = lower(query_text)) / count(*)
        from events where action = 'search'"""
    assert 0.6 < _value(default_shop, forms) < 0.9


def test_clicks_on_hints_follow_position_and_interest(default_shop):
    by_position = [
        rate
        for _, rate in default_shop.execute("""
            select position, avg((clicked_at is not null)::int)
            from hint_candidates where displayed group by 1 order by 1""").fetchall()
    ]
    assert by_position[0] > 1.3 * by_position[1] > 1.3 * 1.3 * by_position[2] > 0.02
    rates = dict(
        default_shop.execute("""
            select recall_source, avg((clicked_at is not null)::int)
            from hint_candidates where displayed group by 1""").fetchall()
    )
    assert rates["own"] > 2 * rates["popular"]
    assert rates["related"] > 1.3 * rates["popular"]


def test_loyalty_is_that_of_a_shop(default_shop):
    """Any-hit rates on the last two days, with what was known before them: the popular must not be
    enough, and the own past must help much (prototype: .08 and .60)."""
    popular, own = default_shop.execute("""
        with searches as (
            select distinct user_id, occurred_at::date as day, lower(query_text) as query_text
            from events where action = 'search'),
        true_queries as (from searches where day >= '2026-02-04'),
        past as (from searches where day < '2026-02-04'),
        head as (
            select query_text from past group by 1
            order by count(distinct user_id) desc, query_text limit 10),
        own_queries as (
            select user_id, query_text, max(day) as last_day from past group by all),
        recent as (
            select user_id, query_text from own_queries qualify row_number() over (
                partition by user_id order by last_day desc, query_text) <= 10),
        marked as (
            select q.user_id, q.day, q.query_text in (from head) as popular,
                r.query_text is not null as own
            from true_queries as q left join recent as r using (user_id, query_text)),
        hits as (
            select user_id, day, max(popular::int) as popular, max(own::int) as own
            from marked group by all)
        select avg(popular), avg(own) from hits""").fetchone()
    assert 0.05 < popular < 0.25
    assert 0.35 < own < 0.70


def test_new_items_are_clicked_from_their_day_on(default_shop):
    """Items come every day, none is clicked before, and most are found within the log."""
    launched = catalog.build(ShopSettings()).launched
    days = dict(
        default_shop.execute("""
            select item_id, datediff('day', date '2026-01-05', min(occurred_at)::date)
            from events where item_id is not null group by 1""").fetchall()
    )
    first_click = np.array([days.get(f"i{number:06d}", 99) for number in range(len(launched))])
    assert (first_click >= launched).all()
    new = launched > 0
    assert len(set(launched[new])) == 31
    assert (first_click[new & (launched < 25)] < 99).mean() > 0.7
    listed = _value(default_shop, "select count(*) from items")
    assert listed == len(launched)


def test_every_day_brings_what_was_never_seen(default_shop):
    """People, items and queries."""
    rows = default_shop.execute("""
        with events as (select *, occurred_at::date as day from events),
        firsts as (
            select day, user_id, item_id, query_text,
                min(day) over (partition by user_id) as user_day,
                min(day) over (partition by item_id) as item_day,
                min(day) over (partition by lower(query_text)) as query_day
            from events)
        select day, count(distinct user_id) filter (user_day = day) as users,
            count(distinct item_id) filter (item_day = day) as items,
            count(*) filter (query_day = day and query_text is not null)
                / count(query_text) as searches
        from firsts where day >= '2026-01-20' group by day order by day""").fetchall()
    assert len(rows) == 17
    for _, users, items, searches in rows:
        assert users > 20
        assert items > 10
        assert 0.08 < searches < 0.3


def test_new_wordings_are_used_from_their_day_on(default_shop):
    """A brand or attribute said of a leaf for the first time: queries that no past holds."""
    language = queries.made_up(ShopSettings())
    first_days = default_shop.execute("""
        select lower(query_text), datediff('day', date '2026-01-05', min(occurred_at)::date)
        from events where action = 'search' group by 1 having count(*) > 1""").fetchall()
    day = np.array([day for _, day in first_days])
    parts = queries.decode(np.array([language.read(text) for text, _ in first_days]))
    debut = np.maximum.reduce(
        [
            np.where(value >= 0, known[parts.leaf, value], -1)
            for value, known in (
                (parts.first, language.catalog.attribute_debut),
                (parts.second, language.catalog.attribute_debut),
                (parts.brand, language.catalog.brand_debut),
            )
        ]
    )
    assert (day >= debut).all()
    assert (debut > 0).sum() > 500
    # Up to the last week, whose newest few are searched by chance alone.
    assert (debut >= 24).sum() >= 10


def test_demand_moves_with_the_season(default_shop):
    """Leaves whose season is near in the last week have gained searches since the first one."""
    seasons = Seasons(ShopSettings(), 260).factors(np.arange(28))
    rising = np.log(seasons[21:].mean(axis=0) / seasons[:7].mean(axis=0))
    clicks = default_shop.execute("""
        select leaf_category_id[2:]::int, (occurred_at >= '2026-01-26')::int, count(*)
        from events join items using (item_id)
        where occurred_at < '2026-01-12' or occurred_at between '2026-01-26' and '2026-02-02'
        group by all""").fetchall()
    counts = np.ones((260, 2))
    for leaf, late, count in clicks:
        counts[leaf, late] += count
    change = np.log(counts[:, 1] / counts[:, 0])
    often = counts.sum(axis=1) > 100
    assert often.sum() > 100
    assert np.corrcoef(rising[often], change[often])[0, 1] > 0.5


def test_presets_differ_in_how_much_people_repeat(tmp_path):
    repeated = []
    for name in ("low_loyalty", "default", "high_loyalty"):
        preset = recipe_path("aigq/simulator", name)
        settings = ShopSettings.load(preset, overrides={"users": 900, "days": 12})
        simulate(settings, tmp_path / name)
        repeated += duckdb.sql(f"""
            select avg((place > 1)::int) from (
                select row_number() over (
                    partition by user_id, lower(query_text) order by occurred_at) as place
                from '{tmp_path / name}/events.parquet' where action = 'search')""").fetchone()
    assert repeated[0] + 0.08 < repeated[1] < repeated[2] - 0.08


def test_items_fit_the_search(default_shop):
    """After a search with a brand most clicked items are of that brand."""
    share = _value(
        default_shop,
        """
        with clicks as (
            select lower(s.query_text) as query_text, lower(brand) as brand, leaf_category_id
            from events as e asof join (from events where action = 'search') as s
                on e.user_id = s.user_id and e.occurred_at >= s.occurred_at
            join items on items.item_id = e.item_id
            where e.action = 'item_click' and e.occurred_at < s.occurred_at + interval 5 minute)
        select avg(contains(query_text, brand)::int) from clicks
        where exists (
            select 1 from (select distinct lower(brand) as b from items)
            where contains(query_text, b))""",
    )
    assert share > 0.5


def test_sessions_of_a_user_do_not_overlap(tmp_path):
    """Also over midnight, and where a user comes many times a day."""
    simulate(ShopSettings(users=200, days=4, sessions_per_day=6), tmp_path)
    gaps = duckdb.sql(f"""
        select min(gap), count(*) from (
            select action, occurred_at - lag(occurred_at) over (
                partition by user_id order by occurred_at) as gap
            from '{tmp_path}/events.parquet')
        where action = 'search_entry' and gap is not null""").fetchone()
    assert gaps[0].total_seconds() >= 60
    assert gaps[1] > 1000


def test_the_log_ends_at_midnight_and_half_sessions_are_whole_rows(tmp_path, monkeypatch):
    """Everybody comes in the last hour and clicks every hint: many are cut off in between."""
    monkeypatch.setattr(sessions, "_HOURS", np.eye(24)[23])
    simulate(
        ShopSettings(
            users=8000,
            days=1,
            sessions_per_day=2,
            click_relevant=(1, 1, 1),
            click_irrelevant=(1, 1, 1),
        ),
        tmp_path,
    )
    late = duckdb.sql(f"""
        select count(*) from '{tmp_path}/events.parquet'
        where occurred_at >= '2026-01-06 00:00:00+00'""").fetchone()[0]
    assert late == 0
    clicks, searched = duckdb.sql(f"""
        select count(*), count(distinct event_id)
        from '{tmp_path}/hint_candidates.parquet' as c
        join '{tmp_path}/hint_requests.parquet' as r using (request_id)
        left join '{tmp_path}/events.parquet' as e on e.user_id = r.user_id
            and e.query_text = c.query_text and action = 'search'
            and occurred_at > clicked_at and occurred_at <= clicked_at + interval 1 second
        where clicked_at is not null""").fetchone()
    assert clicks == searched > 1000


def test_nobody_looks_at_the_second_hint(tmp_path):
    simulate(ShopSettings(users=300, days=3, position_bias=(1, 0, 0)), tmp_path)
    clicked = duckdb.sql(
        f"select distinct position from '{tmp_path}/hint_candidates.parquet'"
        " where clicked_at is not null"
    )
    assert clicked.fetchall() == [(1,)]


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0.0, 0.4), (1.0, 0.9, 1.0)])
def test_repeat_share_makes_people_repeat(tmp_path, share, low, high):
    """Some repeat without meaning to: a taste that lasts is put into the same words again."""
    settings = ShopSettings(
        users=300,
        days=10,
        repeat_share=share,
        exploratory_share=0,
        typo_share=0,
        reformulation_share=0,
        click_relevant=(0, 0, 0),
        click_irrelevant=(0, 0, 0),
        sessions_per_day=1,
    )
    simulate(settings, tmp_path)
    repeated = duckdb.sql(f"""
        select avg((earlier > 0)::int) from (
            select occurred_at, user_id, count(*) over (
                partition by user_id, lower(query_text) order by occurred_at
                rows between unbounded preceding and 1 preceding) as earlier
            from '{tmp_path}/events.parquet' where action = 'search')
        where occurred_at >= '2026-01-12'""").fetchone()[0]
    assert low <= repeated <= high
