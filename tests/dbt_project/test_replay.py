"""A shop without hint logs starts from replayed requests."""

from collections import defaultdict


def test_everything_says_that_it_was_replayed(replayed_shop, rows_of):
    home, _ = replayed_shop
    reached = rows_of(
        home,
        "select distinct table_schema || '.' || table_name as name from information_schema.columns"
        " where table_catalog = 'lake' and table_schema in ('sessions', 'labels', 'samples')"
        " and column_name in ('session_id', 'request_id', 'instance_id')",
    )
    names = [row["name"] for row in reached if not row["name"].endswith("_think")]
    assert len(names) >= 11
    for table in ["meta.shop", *names]:
        columns = {column["column_name"] for column in rows_of(home, f"describe {table}")}
        assert "is_replayed" in columns, table
        direct = " where variant = 'direct'" if "variant" in columns else ""
        marks = rows_of(home, f"select distinct is_replayed from {table}{direct}")
        assert marks == [{"is_replayed": True}], table


def test_think_learns_from_what_was_recorded_only(replayed_shop, rows_of):
    home, reference = replayed_shop
    query = "select distinct tier, is_replayed from labels.label_lists where variant = 'think'"
    assert rows_of(home, query) == [{"tier": "search", "is_replayed": False}]
    samples = {r["session_id"]: r for r in rows_of(home, "from samples.samples_think")}
    assert samples == reference.think_samples()


def test_a_real_shop_has_no_replayed_requests(random_shop, rows_of):
    home, _ = random_shop
    assert rows_of(home, "from sessions.replayed_requests") == []
    assert rows_of(home, "from sessions.replayed_candidates") == []


def test_one_request_as_each_users_day_begins(replayed_shop, rows_of):
    home, reference = replayed_shop
    firsts = defaultdict(list)
    for e in reference.raw["events"]:
        firsts[e["user_id"], reference.day(e["occurred_at"])].append(e["occurred_at"])
    expected = {f"replay:{u}:{d}": min(times) for (u, d), times in firsts.items()}
    found = rows_of(home, "select request_id, requested_at from sessions.requests")
    assert {r["request_id"]: r["requested_at"] for r in found} == expected


def test_clicks_are_the_searches_of_that_day(replayed_shop, rows_of):
    home, reference = replayed_shop
    searched = defaultdict(list)
    for user, own in reference.behaviors().items():
        for b in own:
            if b["action"] == "search":
                key = (f"replay:{user}:{reference.day(b['occurred_at'])}", b["content_text"])
                searched[key].append(b["occurred_at"])
    candidates = rows_of(home, "from sessions.candidates")
    assert any(c["clicked_at"] for c in candidates)
    for c in candidates:
        times = searched[c["request_id"], c["query_text"]]
        assert c["is_displayed"] == (c["rank"] <= 3)
        assert c["clicked_at"] == (min(times) if c["is_displayed"] and times else None)


def test_proposals_do_not_change_with_what_happens_that_day(
    replayed_shop, rows_of, run_dbt, make_home, insert_raw, tmp_path
):
    """The log cut off before a day proposes for that day what the whole log does.

    Of the day itself only the first event of each user is kept: without any, there is no request.
    """
    home, reference = replayed_shop
    days = sorted({reference.day(e["occurred_at"]) for e in reference.raw["events"]})
    cut = days[len(days) // 2]
    kept, opened = [], {}
    for e in sorted(reference.raw["events"], key=lambda e: (e["occurred_at"], e["event_id"])):
        day = reference.day(e["occurred_at"])
        if day < cut:
            kept.append(e)
        elif day == cut:
            opened.setdefault(e["user_id"], e | {"action": "search_entry", "query_text": None})
    early = make_home(tmp_path)
    insert_raw(early, items=reference.raw["items"], events=[*kept, *opened.values()])
    run_dbt(
        early,
        "run",
        "-s",
        "+replayed_candidates",
        variables=reference.variables,
    )
    query = (
        "select request_id, rank, query_text, rank_score, recall_source"
        f" from sessions.replayed_candidates where request_id like '%:{cut}' order by all"
    )
    proposals = rows_of(home, query)
    assert proposals == rows_of(early, query)
    assert len(proposals) > 30
