-- The final tables of the sample warehouse by one hand-written script, parquet to parquet: the peer
-- that `make bench` holds `dbt build` against. Written for this one purpose, as one would who needs
-- the tables once: the variables' defaults (zone UTC, 50 behaviours, lists of 10 and 30, 30 days of
-- training), a shop with hint logs, landing files that keep the raw contract, no rows from jobs, no
-- tests, no history. tests/bench/test_warehouse.py holds its rows against dbt's.
--
-- tests/bench/warehouse.py runs it in the folder of its results, with the landing files as the
-- views landing.* and normalize_query registered. Temporary tables go as soon as they are used up.

-- Queries become numbers in the order of their texts, which break ties as the texts would.
create temp table texts as
with typed as (
    select query_text as typed_text from landing.events
    union
    select query_text from landing.hint_candidates
),
normalized as (
    select typed_text, normalize_query(typed_text) as query_text
    from typed
    where typed_text is not null
)
select
    typed_text,
    query_text,
    cast(dense_rank() over (order by query_text) as integer) as query_id,
from normalized
where query_text <> '';

create temp table queries as
select distinct query_id, query_text from texts;

create temp table events as
select
    events.user_id, events.occurred_at, cast(events.occurred_at as date) as event_date,
    events.event_id, events.action, events.item_id, texts.query_id, texts.query_text,
from landing.events
left join texts on events.query_text = texts.typed_text;

create temp table shop as
select cast(min(event_date) + 29 as date) as train_end_date from events;

-- One sort gives each behaviour its place and the latest search, which an item is credited to.
create temp table behaviors as
with items as (
    select
        item_id,
        leaf_category_id,
        'item:' || item_id as content_key,
        coalesce(
            nullif(trim(regexp_replace(
                concat_ws(', ', title, leaf_category), '\s+', ' ', 'g'
            )), ''),
            item_id
        ) as content_text,
    from landing.items
),
unordered as (
    select
        user_id, occurred_at, event_date, event_id, action, query_id,
        'query:' || query_text as content_key, query_text as content_text,
        null as leaf_category_id,
    from events
    where action = 'search' and query_id is not null
    union all
    select
        user_id, occurred_at, event_date, event_id, action, null,
        content_key, content_text, leaf_category_id,
    from events
    inner join items using (item_id)
    where action in ('item_click', 'cart', 'order')
)
select
    * exclude (event_id),
    row_number() over of_user as behavior_index,
    last_value(
        case when action = 'search' then struct_pack(d := event_date, q := query_id) end
        ignore nulls
    ) over of_user as latest_search,
from unordered
window of_user as (partition by user_id order by occurred_at, event_id);

create temp table requests as
select request_id, user_id, requested_at, cast(requested_at as date) as request_date
from landing.hint_requests;

create temp table candidates as
select
    candidates.request_id, candidates.rank, candidates.rank_score, texts.query_id,
    case when candidates.displayed then candidates.clicked_at end as clicked_at,
from landing.hint_candidates as candidates
inner join texts on candidates.query_text = texts.typed_text;

create temp table sessions as
with think as (
    select
        user_id,
        event_date as session_date,
        min(occurred_at) filter (action = 'search_entry') as session_start_at,
        coalesce(
            max(occurred_at) filter (action = 'app_exit'), max(occurred_at)
        ) as session_end_at,
    from events
    group by user_id, event_date
    having session_start_at <= session_end_at
),
both_variants as (
    select
        'direct' as variant, 10 as list_length, request_id as session_id, user_id,
        request_date as session_date, requested_at as session_start_at, null as session_end_at,
    from requests
    semi join (from candidates where clicked_at is not null) as clicked using (request_id)
    union all
    select
        'think', 30, user_id || ':' || cast(session_date as varchar), user_id, session_date,
        session_start_at, session_end_at,
    from think
)
select *, cast(row_number() over () as integer) as session from both_variants;

create temp table searches as
select
    sessions.session, events.query_id,
    count(*) as searches, max(events.occurred_at) as latest_search_at,
from sessions
inner join events
    on
        sessions.user_id = events.user_id
        and sessions.session_date = events.event_date
        and events.occurred_at between sessions.session_start_at and sessions.session_end_at
where sessions.variant = 'think' and events.action = 'search' and events.query_id is not null
group by sessions.session, events.query_id;

create temp table true_queries as
with occurrences as (
    select user_id, event_date as session_date, query_id, 1 as searches, 0 as hint_clicks
    from behaviors, shop
    where action = 'search' and event_date > train_end_date
    union all
    select user_id, cast(clicked_at as date), query_id, 0, 1
    from candidates inner join requests using (request_id), shop
    where cast(clicked_at as date) > train_end_date
)
select
    user_id, session_date, query_id,
    sum(searches) > sum(hint_clicks) as is_searched,
    sum(hint_clicks) > 0 as is_hint_click,
from occurrences
group by all;

drop table texts;
drop table events;

-- What was scored in each session. A session that starts and ends on one day has its requests there.
create temp table shown as
with requests_of_sessions as (
    select session, true as is_direct, session_id as request_id
    from sessions
    where variant = 'direct'
    union all
    select sessions.session, false, requests.request_id
    from sessions
    inner join requests
        on
            sessions.user_id = requests.user_id
            and sessions.session_date = requests.request_date
            and requests.requested_at between session_start_at and session_end_at
    where sessions.variant = 'think'
)
select
    session, is_direct, query_id, rank, rank_score, clicked_at,
    case when is_direct then rank else query_id end as tie,
from requests_of_sessions
inner join candidates using (request_id);

drop table candidates;
drop table requests;

create temp table scored as
select
    session, query_id,
    max(rank_score) as rank_score,
    -max(struct_pack(s := coalesce(rank_score, '-infinity'), t := -tie)).t as tie,
    count(clicked_at) > 0 as is_clicked,
from shown
group by session, query_id;

-- A query is a duplicate where a better tier has it, and its place is the number of others up to
-- it: tier by tier, without a sort over all tiers together.
create temp table tiers as
with clicks as (
    select
        session, is_direct, query_id,
        count(*) as clicks,
        max(clicked_at) as latest_click_at,
        min(struct_pack(c := clicked_at, r := rank, s := rank_score)) as first_click,
    from shown
    where clicked_at is not null
    group by session, is_direct, query_id
),
clicked as (
    select
        clicks.session, clicks.query_id, 'click' as tier,
        row_number() over (
            partition by clicks.session
            order by
                case when is_direct then first_click.c end,
                case when is_direct then first_click.r end,
                clicks desc, latest_click_at desc, clicks.query_id
        ) as tier_rank,
        case when is_direct then first_click.s else scored.rank_score end as rank_score,
        true as is_clicked, false as is_duplicate, tier_rank as place,
    from clicks
    inner join scored using (session, query_id)
),
ranked as (
    select
        session, query_id, 'rank' as tier, row_number() over by_score as tier_rank, rank_score,
        is_clicked, is_clicked as is_duplicate,
        count(*) filter (not is_clicked) over by_score
            + count(*) filter (is_clicked) over (
                by_score rows between unbounded preceding and unbounded following
            ) as place,
    from scored
    window by_score as (partition by session order by rank_score desc nulls last, tie)
),
counts as (select session, count(*) as scored from scored group by session),
searched as (
    select
        searches.session, searches.query_id, 'search' as tier,
        row_number() over by_count as tier_rank,
        scored.rank_score, coalesce(scored.is_clicked, false) as is_clicked,
        scored.session is not null as is_duplicate,
        coalesce(counts.scored, 0) + count(*) filter (scored.session is null) over by_count as place,
    from searches
    left join scored using (session, query_id)
    left join counts on searches.session = counts.session
    window by_count as (
        partition by searches.session
        order by searches desc, latest_search_at desc, searches.query_id
    )
)
select
    tiers.*,
    case
        when is_duplicate then 'duplicate' when place > list_length then 'beyond_length'
    end as drop_reason,
from (
    select * from clicked union all select * from ranked union all select * from searched
) as tiers
inner join (select session, list_length from sessions) using (session);

drop table shown;
drop table scored;

copy (
    select
        session_id, session_date, variant, query_text, tier, cast(tier_rank as integer) as tier_rank, rank_score,
        is_clicked, drop_reason is null as is_kept, drop_reason, false as is_replayed,
    from tiers
    inner join sessions using (session)
    inner join queries using (query_id)
) to 'label_candidates.parquet';

create temp table kept as
select
    session, session_id, session_date, variant, cast(place as integer) as position, query_text, tier,
    cast(row_number() over (
        partition by session order by md5(session_id || query_text), query_id
    ) as integer) as log_position,
from tiers
inner join sessions using (session)
inner join queries using (query_id)
where drop_reason is null;

drop table tiers;

copy (
    select
        session_id, session_date, variant, position, log_position, query_text, tier,
        false as is_replayed,
    from kept
) to 'label_lists.parquet';

create temp table labels as
with lists as (
    select
        session,
        list_sort(list(struct_pack(p := position, q := query_text, t := tier))) as ranked,
        list_sort(list(struct_pack(p := log_position, q := query_text))) as logged,
    from kept
    group by session
)
select
    session,
    list_transform(ranked, lambda x: x.q) as labels,
    list_transform(logged, lambda x: x.q) as log_labels,
    list_transform(ranked, lambda x: x.t) as label_tiers,
from lists;

drop table kept;

-- A context is a slice of its user's history: everything up to the last moment before it.
create temp table histories as
select
    user_id,
    list_sort(list(struct_pack(
        i := behavior_index, d := event_date, a := action, t := content_text, k := content_key
    ))) as history,
from behaviors
group by user_id;

create temp table moments as
select user_id, occurred_at, max(behavior_index) as past
from behaviors
group by user_id, occurred_at;

create temp macro context(history, past, predicted_date) as coalesce(
    list_transform(
        history[greatest(past - 49, 1):coalesce(past, 0)],
        lambda b: struct_pack(
            days_ago := cast(predicted_date - b.d as integer),
            action := b.a, content_text := b.t, content_key := b.k
        )
    ),
    []
);

create temp macro samples(wanted) as table
with placed as (
    select sessions.*, moments.past
    from (from sessions where variant = wanted) as sessions
    asof left join moments
        on
            sessions.user_id = moments.user_id
            and sessions.session_start_at > moments.occurred_at
)
select
    session_id, user_id, session_start_at, session_date,
    case when session_date <= train_end_date then 'train' else 'test' end as split,
    age_band, gender, region,
    context(history, past, session_date) as behaviors,
    labels, log_labels, label_tiers,
    false as is_replayed,
from placed
inner join labels using (session)
left join histories using (user_id)
left join landing.users as users using (user_id)
cross join shop;

copy (from samples('direct')) to 'samples_direct.parquet';
copy (from samples('think')) to 'samples_think.parquet';

copy (
    with supports as (
        select latest_search.q as query_id, leaf_category_id, count(*) as support
        from behaviors, shop
        where
            action <> 'search' and leaf_category_id is not null
            and latest_search.d = event_date and event_date <= train_end_date
        group by all
    ),
    categories as (
        select
            query_id,
            arg_min(leaf_category_id, struct_pack(s := -support, c := leaf_category_id))
                as leaf_category_id,
        from supports
        group by query_id
    ),
    instances as (
        select
            user_id, session_date, cast(session_date as timestamptz) as session_start_at,
            list_sort(list(query_text)) as true_queries,
            coalesce(list_sort(list(query_text) filter (is_searched)), []) as searched_queries,
            coalesce(
                list_sort(list(query_text) filter (is_hint_click)), []
            ) as hint_clicked_queries,
            coalesce(
                list_sort(
                    list(distinct leaf_category_id) filter (leaf_category_id is not null)
                ), []
            ) as true_leaf_categories,
        from true_queries
        inner join queries using (query_id)
        left join categories using (query_id)
        group by all
    ),
    placed as (
        select instances.*, moments.past
        from instances
        asof left join moments
            on
                instances.user_id = moments.user_id
                and instances.session_start_at > moments.occurred_at
    )
    select
        user_id || ':' || cast(session_date as varchar) as instance_id,
        user_id, session_date, session_start_at, age_band, gender, region,
        context(history, past, session_date) as behaviors,
        true_queries, searched_queries, hint_clicked_queries, true_leaf_categories,
        false as is_replayed,
    from placed
    left join histories using (user_id)
    left join landing.users as users using (user_id)
) to 'test_user_days.parquet';
