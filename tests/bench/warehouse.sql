-- The final tables of the sample warehouse by one hand-written script, parquet to parquet: the peer
-- that `make bench` holds `dbt build` against. Written for this one purpose, as one would who needs
-- the tables once: the variables' defaults (zone UTC, 50 behaviours, lists of 10 and 30, 30 days of
-- training), a shop with hint logs, landing files that keep the raw contract, no rows from jobs, no
-- tests, no history. tests/bench/test_warehouse.py holds its rows against dbt's.
--
-- tests/bench/warehouse.py runs it in the folder of its results, with the landing files as the
-- views landing.* and normalize_query registered. Large temporary tables go as they are used up.

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
    cast(row_number() over () as integer) as typed_id,
    query_text,
    cast(dense_rank() over (order by query_text) as integer) as query_id,
from normalized
where query_text <> '';

create temp table queries as
select distinct query_id, query_text from texts;

create temp table events as
select
    events.user_id, events.occurred_at, cast(events.occurred_at as date) as event_date,
    events.event_id, events.action, events.item_id, events.quantity, events.price,
    texts.typed_id, texts.query_id, texts.query_text,
from landing.events
left join texts on events.query_text = texts.typed_text;

create temp table items as
select
    item_id,
    leaf_category_id,
    leaf_category,
    coalesce(
        nullif(trim(regexp_replace(concat_ws(', ', title, leaf_category), '\s+', ' ', 'g')), ''),
        item_id
    ) as item_text,
from landing.items;

copy (
    select item_id, item_text, 'rule' as source, cast(null as varchar) as model_version from items
) to 'item_texts.parquet';

create temp table shop as
select cast(min(event_date) + 29 as date) as train_end_date, max(occurred_at) as last_event_at,
from events;

copy (
    select
        user_id, age_band, gender, region,
        timestamptz '2000-01-01 00:00:00+00' + interval 1 microsecond as event_timestamp,
        now() as created_at,
    from landing.users
    full outer join (select distinct user_id from events) using (user_id)
) to 'user_profile.parquet';

-- What is counted by day, for monitoring. (stat_date, kind, metric, part, amount, total)
create temp table counts as
with known as (
    select
        events.*, users.user_id is not null as has_profile, items.item_id is not null as has_item,
        users.age_band, users.gender, users.region,
        action in ('item_click', 'cart', 'order') as is_of_item, action in ('cart', 'order') as is_bought,
        case when action = 'search' then length(query_text) end as length,
    from events
    left join landing.users as users using (user_id)
    left join items using (item_id)
),
by_action as (
    select event_date, action, count(*) as events from known group by all
),
by_day as (
    select
        event_date,
        count(distinct user_id) as users,
        count(*) as events,
        count(*) filter (not has_profile) as without_profile,
        count(*) - count(age_band) as without_age_band,
        count(*) - count(gender) as without_gender,
        count(*) - count(region) as without_region,
        count(*) filter (action = 'search') as asked,
        count(*) filter (action = 'search' and query_text is null) as without_query_text,
        count(*) filter (is_of_item) as of_items,
        count(*) filter (is_of_item and not has_item) as without_item,
        count(*) filter (is_bought) as bought,
        count(*) filter (is_bought and quantity is null) as without_quantity,
        count(*) filter (is_bought and price is null) as without_price,
        sum(length) as length,
        count(length) as searches,
    from known
    group by event_date
)
select
    event_date as stat_date, 'count' as kind, 'events' as metric, action as part,
    cast(events as hugeint) as amount, cast(null as bigint) as total,
from by_action
union all
select event_date, 'count', 'active_users', 'all', users, null from by_day
union all
select event_date, 'share', 'null_rate', 'events.profile', without_profile, events from by_day
union all
select event_date, 'share', 'null_rate', 'events.age_band', without_age_band, events from by_day
union all
select event_date, 'share', 'null_rate', 'events.gender', without_gender, events from by_day
union all
select event_date, 'share', 'null_rate', 'events.region', without_region, events from by_day
union all
select event_date, 'share', 'null_rate', 'events.query_text', without_query_text, asked
from by_day where asked > 0
union all
select event_date, 'share', 'null_rate', 'events.item', without_item, of_items
from by_day where of_items > 0
union all
select event_date, 'share', 'null_rate', 'events.quantity', without_quantity, bought
from by_day where bought > 0
union all
select event_date, 'share', 'null_rate', 'events.price', without_price, bought
from by_day where bought > 0
union all
select event_date, 'mean', 'query_length', 'characters', length, searches
from by_day where searches > 0;

-- (stat_date, column_name, bin, amount)
create temp table bins as
with binned as (
    select event_date, user_id, action, hour(occurred_at) as hour,
        case
            when action in ('item_click', 'cart', 'order') then coalesce(leaf_category_id, 'none')
        end as leaf_category_id,
        case when action = 'search' then least(length(query_text) // 5, 9) end as query_length,
    from events
    left join items using (item_id)
)
select event_date as stat_date, 'events.action' as column_name, action as bin, count(distinct user_id) as amount
from binned group by all
union all
select event_date, 'events.hour', cast(hour as varchar), count(distinct user_id)
from binned group by event_date, hour
union all
select event_date, 'events.leaf_category_id', leaf_category_id, count(distinct user_id)
from binned where leaf_category_id is not null group by event_date, leaf_category_id
union all
select event_date, 'events.query_length', cast(query_length as varchar), count(distinct user_id)
from binned where query_length is not null group by event_date, query_length;

-- One sort gives each behaviour its place and the latest search, which an item is credited to.
create temp table behaviors as
with unordered as (
    select
        event_id, user_id, occurred_at, event_date, action, null as item_id, query_id,
        'query:' || query_text as content_key, query_text as content_text,
        null as leaf_category_id, null as leaf_category,
    from events
    where action = 'search' and query_id is not null
    union all
    select
        event_id, user_id, occurred_at, event_date, action, item_id, null,
        'item:' || item_id, item_text, leaf_category_id, leaf_category,
    from events
    inner join items using (item_id)
    where action in ('item_click', 'cart', 'order')
)
select
    *,
    row_number() over of_user as behavior_index,
    last_value(
        case when action = 'search' then struct_pack(d := event_date, q := query_id) end
        ignore nulls
    ) over of_user as latest_search,
from unordered
window of_user as (partition by user_id order by occurred_at, event_id);

copy (
    select
        event_id, user_id, occurred_at, event_date as behavior_date, action, content_key,
        content_text, leaf_category_id, leaf_category,
        epoch_us(occurred_at) * 1000 + row_number() over (
            partition by user_id, occurred_at order by behavior_index
        ) as behavior_order,
    from behaviors
) to 'behaviors.parquet';

copy (
    with popular as (
        select
            content_text,
            row_number() over (order by count(distinct user_id) desc, content_text) as place,
        from behaviors, shop
        where action = 'search' and event_date > cast(last_event_at as date) - 7
        group by content_text
        qualify place <= 30
    )
    select
        'home' as surface, list(content_text order by place) as queries, 'UTC' as shop_timezone,
        last_event_at + interval 2 microsecond as event_timestamp, now() as created_at,
    from popular, shop
    group by last_event_at
) to 'popular_queries.parquet';

create temp table clicks as
select item_id, latest_search.q as query_id, leaf_category_id, leaf_category, count(*) as support,
from behaviors, shop
where action <> 'search' and latest_search.d = event_date and event_date <= train_end_date
group by all;

copy (
    select item_id, query_text, cast(sum(support) as bigint) as support
    from clicks inner join queries using (query_id)
    group by item_id, query_text
) to 'item_queries.parquet';

create temp table categories as
with supports as (
    select
        query_id, leaf_category_id, min(leaf_category) as leaf_category, sum(support) as support,
    from clicks
    where leaf_category_id is not null
    group by query_id, leaf_category_id
)
select
    query_id,
    unnest(arg_min(
        struct_pack(leaf_category_id, leaf_category, support := cast(support as bigint)),
        struct_pack(s := -support, c := leaf_category_id)
    )),
from supports
group by query_id;

copy (
    select query_text, leaf_category_id, leaf_category, support, 'clicks' as source
    from categories inner join queries using (query_id)
) to 'query_categories.parquet';

drop table clicks;

-- Behaviours' contents as numbers.
create temp table contents as
select content_key, cast(row_number() over () as integer) as content_id
from (select distinct content_key from behaviors);

-- What is searched on the days of a content, for the co-click baselines: the 50 likeliest.
create temp table co_clicks as
with days as (
    select distinct user_id, event_date, content_id, query_id
    from behaviors inner join contents using (content_key), shop
    where event_date <= train_end_date
),
pairs as (
    select days.content_id, searches.query_id, count(*) as users
    from days
    inner join days as searches using (user_id, event_date)
    where days.content_id <> searches.content_id and searches.query_id is not null
    group by all
)
select
    content_id, query_id,
    cast(users / sum(users) over of_content as decimal(18, 12)) as weight,
from pairs
window of_content as (partition by content_id)
qualify row_number() over (partition by content_id order by users desc, query_id) <= 50;

create temp table popular as
with days as (
    select
        query_id, train_end_date - event_date as age, count(distinct user_id) as users,
    from behaviors, shop
    where action = 'search' and event_date <= train_end_date
    group by all
),
counted as (
    select
        query_id,
        cast(
            sum(users * cast(pow(0.5, age / 7.0) as decimal(18, 12))) as decimal(38, 12)
        ) as popularity,
    from days
    group by query_id
)
select
    query_id,
    cast(popularity / sum(popularity) over () as decimal(18, 12)) as share,
    cast(row_number() over (order by popularity desc, query_id) as integer) as position,
from counted
qualify position <= 30;

create temp table profile_queries as
with days as (
    select
        coalesce(gender, 'unknown') as gender, coalesce(age_band, 'unknown') as age_band,
        coalesce(region, 'unknown') as region, query_id, train_end_date - event_date as age,
        count(distinct user_id) as users,
    from behaviors
    cross join shop
    left join landing.users as users using (user_id)
    where action = 'search' and event_date <= train_end_date
    group by all
),
own as (
    select
        gender, age_band, region, query_id,
        sum(users * cast(pow(0.5, age / 7.0) as decimal(18, 12))) as popularity,
    from days
    group by all
),
shares as (
    select
        query_id,
        cast(sum(popularity) / sum(sum(popularity)) over () as decimal(18, 12)) as share,
    from own
    group by query_id
),
wanted as (
    select gender, age_band, region, query_id from own
    union
    select gender, age_band, region, query_id
    from (select distinct gender, age_band, region from own) cross join popular
)
select
    gender, age_band, region, query_id,
    row_number() over (
        partition by gender, age_band, region
        order by coalesce(popularity, 0) + 100 * share desc, query_id
    ) as position,
from wanted
inner join shares using (query_id)
left join own using (gender, age_band, region, query_id)
qualify position <= 30;

create temp table requests as
select request_id, user_id, requested_at, cast(requested_at as date) as request_date
from landing.hint_requests;

create temp table candidates as
select
    request_id, rank, rank_score, typed_id, query_id, recall_source, displayed, position, clicked_at,
from landing.hint_candidates as candidates
inner join texts on candidates.query_text = texts.typed_text;

insert into counts
select request_date, 'count', 'requests', 'all', count(*), null from requests group by request_date;

create temp table days_of_queries as
with known as (
    select request_date, candidates.*
    from candidates inner join requests using (request_id)
),
counted as (
    select typed_id, query_id, event_date as day, count(*) as typed, 0 as seen, 0 as shown, 0 as clicked
    from events
    where action = 'search' and query_id is not null
    group by all
    union all
    select typed_id, query_id, request_date, 0, count(*), count(*) filter (displayed), 0
    from known
    group by all
    union all
    select typed_id, query_id, cast(clicked_at as date), 0, 0, 0, count(*)
    from known
    where displayed and clicked_at is not null
    group by all
)
select
    typed_id, query_id, day,
    sum(typed) as typed, sum(seen) as seen, sum(shown) as shown, sum(clicked) as clicked,
from counted
group by all;

copy (
    with spelled as (
        select
            query_id,
            trim(regexp_replace(typed_text, '\s+', ' ', 'g')) as display_text,
            sum(typed) as typed, sum(typed + seen) as seen,
            min(day) filter (typed + seen > 0) as first_day,
        from days_of_queries
        inner join texts using (typed_id, query_id)
        group by all
        having sum(typed + seen) > 0
    )
    select
        query_text,
        min(struct_pack(t := -typed, s := -seen, display_text)).display_text as display_text,
        min(first_day) as first_seen_date,
    from spelled
    inner join queries using (query_id)
    group by query_text
) to 'queries.parquet';

copy (
    with days as (
        select
            query_id, day, sum(typed) as page_views, sum(shown) as hint_impressions,
            sum(clicked) as hint_clicks,
        from days_of_queries
        group by all
        having page_views + hint_impressions + hint_clicks > 0
    ),
    newest as (
        select greatest(
            last_event_at,
            (select max(requested_at) from requests),
            (select max(clicked_at) from candidates)
        ) as newest_at,
        from shop
    ),
    dates as (
        select
            dates.day,
            least(
                cast(dates.day + 1 as timestamptz), newest_at + interval 1 microsecond
            ) + interval 1 microsecond as event_timestamp,
        from (
            select cast(unnest(generate_series(
                min(day), (select cast(last_event_at as date) from shop), interval 1 day
            )) as date) as day
            from days
        ) as dates, shop, newest
        where dates.day > cast(last_event_at as date) - 3
    ),
    windows as (
        select
            query_id, event_timestamp,
            sum(page_views) filter (days.day > dates.day - 1) as page_views_1d,
            sum(hint_impressions) filter (days.day > dates.day - 1) as hint_impressions_1d,
            sum(hint_clicks) filter (days.day > dates.day - 1) as hint_clicks_1d,
            sum(page_views) filter (days.day > dates.day - 7) as page_views_7d,
            sum(hint_impressions) filter (days.day > dates.day - 7) as hint_impressions_7d,
            sum(hint_clicks) filter (days.day > dates.day - 7) as hint_clicks_7d,
            sum(page_views) filter (days.day > dates.day - 30) as page_views_30d,
            sum(hint_impressions) filter (days.day > dates.day - 30) as hint_impressions_30d,
            sum(hint_clicks) filter (days.day > dates.day - 30) as hint_clicks_30d,
        from dates
        inner join days on days.day between dates.day - 30 and dates.day
        group by all
    ),
    whole as (
        select
            query_id, event_timestamp,
            cast(coalesce(columns('_\d+d$'), 0) as bigint),
        from windows
    )
    select
        query_text, event_timestamp,
        columns('_\d+d$'),
        (hint_clicks_1d + 20 * coalesce(
            sum(hint_clicks_1d) over as_of / nullif(sum(hint_impressions_1d) over as_of, 0), 0
        )) / (hint_impressions_1d + 20) as hint_ctr_1d,
        (hint_clicks_7d + 20 * coalesce(
            sum(hint_clicks_7d) over as_of / nullif(sum(hint_impressions_7d) over as_of, 0), 0
        )) / (hint_impressions_7d + 20) as hint_ctr_7d,
        (hint_clicks_30d + 20 * coalesce(
            sum(hint_clicks_30d) over as_of / nullif(sum(hint_impressions_30d) over as_of, 0), 0
        )) / (hint_impressions_30d + 20) as hint_ctr_30d,
        now() as created_at,
    from whole
    inner join queries using (query_id)
    window as_of as (partition by event_timestamp)
) to 'query_stats.parquet';

drop table days_of_queries;

insert into counts
with by_day as (
    select
        request_date,
        count(*) as candidates, count(rank_score) as scored, count(recall_source) as told,
        count(*) filter (displayed) as shown, count(position) filter (displayed) as placed,
        count(clicked_at) filter (displayed) as clicked,
    from candidates inner join requests using (request_id)
    group by request_date
)
select request_date, 'count', 'candidates', 'all', candidates, null from by_day
union all
select request_date, 'share', 'null_rate', 'candidates.rank_score', candidates - scored, candidates
from by_day
union all
select request_date, 'share', 'null_rate', 'candidates.recall_source', candidates - told, candidates
from by_day
union all
select request_date, 'share', 'null_rate', 'candidates.position', shown - placed, shown
from by_day where shown > 0
union all
select request_date, 'share', 'hint_ctr', 'all', clicked, shown from by_day where shown > 0;

insert into bins
with known as (
    select request_date, request_id, recall_source, rank_score
    from candidates inner join requests using (request_id)
),
edges as (
    select quantile_cont(rank_score, [.1, .2, .3, .4, .5, .6, .7, .8, .9]) as edges
    from known
    where request_date = (select min(request_date) from known where rank_score is not null)
)
select request_date, 'candidates.recall_source', coalesce(recall_source, 'none'), count(distinct request_id)
from known group by all
union all
select
    request_date,
    'candidates.rank_score',
    case
        when rank_score is null then 'none'
        else cast(len(list_filter(edges, lambda e: e < rank_score)) as varchar)
    end as bin,
    count(distinct request_id),
from known, edges
group by request_date, bin;

copy (
    with days as (
        select stat_date, column_name, bin, amount from bins
    ),
    pairs as (
        select
            dates.stat_date, column_name, bin,
            coalesce(sum(amount) filter (days.stat_date = dates.stat_date), 0) as day_amount,
            coalesce(sum(amount) filter (days.stat_date < dates.stat_date), 0) as week_amount,
        from (select distinct stat_date, column_name from days) as dates
        inner join days using (column_name)
        where days.stat_date between dates.stat_date - 7 and dates.stat_date
        group by all
    ),
    weeks as (
        select stat_date, column_name, count(*) over week as days
        from (select distinct stat_date, column_name from days)
        window week as (
            partition by column_name order by stat_date
            range between interval 7 days preceding and interval 1 day preceding
        )
    ),
    shares as (
        select
            *,
            count(*) over cells as bins,
            sum(day_amount) over cells as day_total,
            sum(week_amount) over cells as week_total,
            (day_amount + 0.5) / (day_total + 0.5 * bins) as day_share,
            (week_amount + 0.5) / (week_total + 0.5 * bins) as week_share,
        from pairs
        window cells as (partition by stat_date, column_name)
    ),
    indexed as (
        select
            stat_date, column_name,
            sum((day_share - week_share) * ln(day_share / week_share)) as psi,
            (max(bins) - 1) * (1 / max(day_total) + 1 / max(week_total)) as by_chance,
            max(day_total) as amount,
        from shares
        group by all
        having max(week_total) > 0
    )
    select
        stat_date, column_name,
        cast(round(psi, 6) as double) as psi,
        cast(round(by_chance, 6) as double) as psi_by_chance,
        cast(amount as bigint) as amount,
        case
            when weeks.days < 3 then 'new'
            when psi - by_chance >= 0.25 then 'fail'
            when psi - by_chance >= 0.1 then 'warn'
            else 'ok'
        end as grade,
    from indexed join weeks using (stat_date, column_name)
) to 'day_drift.parquet';

drop table bins;

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
    semi join (from candidates where displayed and clicked_at is not null) as clicked
        using (request_id)
    union all
    select
        'think', 30, user_id || ':' || cast(session_date as varchar), user_id, session_date,
        session_start_at, session_end_at,
    from think
)
select *, cast(row_number() over () as integer) as session from both_variants;

copy (
    select session_id, user_id, session_start_at, session_date, false as is_replayed
    from sessions
    where variant = 'direct'
) to 'sessions_direct.parquet';

copy (
    select session_id, user_id, session_date, session_start_at, session_end_at
    from sessions
    where variant = 'think'
) to 'sessions_think.parquet';

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
    where displayed and cast(clicked_at as date) > train_end_date
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
    session, is_direct, query_id, rank, rank_score,
    case when displayed then clicked_at end as clicked_at,
    case when is_direct then rank else query_id end as tie,
from requests_of_sessions
inner join candidates using (request_id);

create temp table exposures as
select
    request_id,
    list(
        struct_pack(query_text, position, is_clicked := clicked_at is not null, rank_score)
        order by rank
    ) as exposures,
from candidates
inner join queries using (query_id)
where displayed
group by request_id;

drop table candidates;

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
        is_clicked, drop_reason is null as is_kept,
        cast(case when drop_reason is null then place end as integer) as position,
        drop_reason, false as is_replayed,
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

insert into counts
with tiers as (
    select session_date, variant, tier, count(*) as labels from kept group by all
),
totals as (
    select
        session_date, variant, count(*) as labels, count(distinct session) as samples,
    from kept
    group by all
),
parts as (
    select * from (values
        ('direct', 'click'), ('direct', 'rank'),
        ('think', 'click'), ('think', 'rank'), ('think', 'search'), ('think', 'llm')
    ) as parts (variant, tier)
),
held as (
    select session_date, count(*) as sessions from sessions where variant = 'think' group by all
),
asked as (
    select
        request_date, count(*) as requests,
        count(*) filter (request_id in (select session_id from sessions)) as sessions,
    from requests
    group by request_date
)
select
    session_date, 'share', 'label_tier_share', variant || '.' || tier,
    coalesce(tiers.labels, 0), totals.labels,
from totals
inner join parts using (variant)
left join tiers using (session_date, variant, tier)
union all
select session_date, 'mean', 'labels_per_sample', variant, labels, samples from totals
union all
select request_date, 'share', 'sessions_kept', 'direct', sessions, requests from asked
union all
select held.session_date, 'share', 'sessions_kept', 'think', coalesce(samples, 0), sessions
from held
left join (from totals where variant = 'think') as totals using (session_date);

copy (
    with dates as (
        select
            cast(unnest(generate_series(min(stat_date), max(stat_date), interval 1 day)) as date)
                as stat_date,
        from counts
    ),
    valued as (
        select
            stat_date, kind, metric, part, total,
            case
                when kind = 'count' then coalesce(amount, 0)
                else coalesce(amount, 0) / nullif(total, 0)
            end as value,
        from dates
        cross join (select distinct kind, metric, part from counts)
        left join counts using (stat_date, kind, metric, part)
    ),
    compared as (
        select
            *,
            avg(value) over week as baseline,
            count(value) over week as baseline_days,
            avg(coalesce(total, 0)) over week as usual_total,
        from valued
        window week as (
            partition by metric, part order by stat_date
            range between interval 7 days preceding and interval 1 day preceding
        )
    ),
    judged as (
        select
            *,
            case kind
                when 'share'
                    then abs(value - baseline) - 3 * sqrt(baseline * (1 - baseline) / total)
                when 'count'
                    then
                        (abs(value - baseline) - 3 * sqrt(baseline))
                        / greatest(least(value, baseline), 1)
                else abs(value - baseline) / nullif(least(value, baseline), 0)
            end as distance,
            case kind when 'share' then 0.05 when 'count' then 1 else 0.2 end as warn_from,
            case kind when 'share' then 0.2 when 'count' then 4 else 0.5 end as fail_from,
        from compared
        where value is not null or baseline is not null
    )
    select
        stat_date, metric, part, kind, cast(value as double) as value,
        cast(baseline as double) as baseline,
        case
            when baseline_days < 3 then 'new'
            when value is null and baseline > 0 and usual_total >= 10 then 'fail'
            when kind = 'count' and value = 0 and baseline >= 10 then 'fail'
            when distance >= fail_from then 'fail'
            when distance >= warn_from then 'warn'
            else 'ok'
        end as grade,
    from judged
) to 'day_metrics.parquet';

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
        i := behavior_index, d := event_date, a := action, t := content_text, k := content_key,
        c := coalesce(leaf_category_id, ''), u := epoch_us(occurred_at)
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

copy (
    with placed as (
        select
            request_id as session_id, requests.user_id, requested_at as session_start_at,
            request_date as session_date, exposures, past,
        from requests
        inner join exposures using (request_id)
        asof left join moments
            on requests.user_id = moments.user_id and requests.requested_at > moments.occurred_at
    ),
    searched as (
        select
            request_id as session_id, list_sort(list(distinct content_text)) as searched_next,
        from requests
        inner join behaviors
            on
                requests.user_id = behaviors.user_id
                and requests.request_date = behaviors.event_date
                and requests.requested_at < behaviors.occurred_at
        where behaviors.action = 'search'
        group by request_id
    )
    select
        session_id, user_id, session_start_at, session_date,
        case when session_date <= train_end_date then 'train' else 'test' end as split,
        age_band, gender, region,
        context(history, past, session_date) as behaviors,
        exposures,
        coalesce(searched_next, []) as searched_next,
        false as is_replayed,
    from placed
    left join searched using (session_id)
    left join histories using (user_id)
    left join landing.users as users using (user_id)
    cross join shop
) to 'samples_ctr.parquet';

drop table exposures;
drop table requests;

copy (from samples('direct')) to 'samples_direct.parquet';
copy (from samples('think')) to 'samples_think.parquet';

create temp table test_user_days as
with instances as (
    select
        user_id, session_date, cast(session_date as timestamptz) as session_start_at,
        list_sort(list(query_text)) as true_queries,
        coalesce(list_sort(list(query_text) filter (is_searched)), []) as searched_queries,
        coalesce(list_sort(list(query_text) filter (is_hint_click)), []) as hint_clicked_queries,
        coalesce(
            list_sort(list(distinct leaf_category_id) filter (leaf_category_id is not null)), []
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
left join landing.users as users using (user_id);

copy test_user_days to 'test_user_days.parquet';

-- Baselines. Decimals, so that ties are ties.
create temp table pasts as
select
    instance_id, user_id, session_date,
    place, behavior.days_ago, behavior.action, behavior.content_text, content_id,
from (
    select
        instance_id, user_id, session_date,
        unnest(behaviors) as behavior, unnest(range(len(behaviors))) as place,
    from test_user_days
)
inner join contents on behavior.content_key = contents.content_key;

create temp table votes as
with fresh as (
    select
        instance_id, content_id, any_value(content_text) as content_text,
        bool_or(action = 'search') as is_search,
        cast(
            sqrt(sum(cast(pow(0.5, days_ago / 7.0) as decimal(18, 12)))) as decimal(18, 12)
        ) as freshness,
    from pasts
    group by instance_id, content_id
),
summed as (
    select
        instance_id, query_id,
        cast(sum(co_click) as decimal(38, 24)) as co_click,
        cast(sum(own) as decimal(18, 12)) as own,
    from (
        select instance_id, query_id, freshness * weight as co_click, 0 as own
        from fresh inner join co_clicks using (content_id)
        union all
        select instance_id, query_id, 0, freshness
        from fresh inner join queries on fresh.content_text = queries.query_text
        where is_search
    )
    group by instance_id, query_id
)
select instance_id, query_id, co_click, own, popular.share,
from summed
left join popular using (query_id);

copy (
    with of_profile as (
        select instance_id, 'popularity_profile' as model, position, query_id
        from test_user_days as instances
        inner join profile_queries as queries
            on
                coalesce(instances.gender, 'unknown') = queries.gender
                and coalesce(instances.age_band, 'unknown') = queries.age_band
                and coalesce(instances.region, 'unknown') = queries.region
    ),
    lists as (
        select instance_id, 'popularity' as model, position, query_id
        from test_user_days cross join popular
        union all
        from of_profile
        union all
        select instance_id, 'popularity_profile', position, query_id
        from test_user_days cross join popular
        anti join of_profile using (instance_id)
        union all
        select
            instance_id, 'co_click',
            row_number() over (partition by instance_id order by co_click desc, query_id),
            query_id,
        from votes
        where co_click > 0
        union all
        select
            instance_id, 'co_click_own',
            row_number() over (partition by instance_id order by vote desc, query_id), query_id,
        from (
            select instance_id, query_id, co_click + 0.5 * own + coalesce(3 * share, 0) as vote
            from votes
            union all
            select instance_id, query_id, 3 * share
            from test_user_days cross join popular
            anti join votes using (instance_id, query_id)
        )
        union all
        select
            instance_id, 'own_recent',
            row_number() over (partition by instance_id order by score desc, latest desc), query_id,
        from (
            select
                instance_id, query_id,
                sum(cast(pow(0.5, days_ago / 5.0) as decimal(18, 12))) as score,
                max(place) as latest,
            from pasts
            inner join queries on content_text = query_text
            where action = 'search'
            group by all
        )
    )
    select
        instance_id, user_id, session_date, model, 'sql' as model_version, 0 as list_index,
        cast(position as integer) as position, query_text,
    from lists
    inner join (select instance_id, user_id, session_date from test_user_days) using (instance_id)
    inner join queries using (query_id)
    where position <= 30
) to 'baseline_lists.parquet';

drop table votes;
drop table pasts;
drop table test_user_days;

-- What online stores get: the newest three days' moments, each user's last one before them, and the
-- newest once more, a microsecond later: each build of a lake is later than those before.
copy (
    with stamped as (
        select user_id, past, occurred_at + interval 1 microsecond as event_timestamp,
        from moments
        union all
        select user_id, max(past), max(occurred_at) + interval 2 microsecond,
        from moments
        group by user_id
    ),
    exported as (
        select
            user_id, event_timestamp, past,
            cast(event_timestamp - interval 1 microsecond as date)
            > cast(last_event_at as date) - 3 as is_in_window,
        from stamped, shop
        qualify
            is_in_window
            or row_number() over (
                partition by user_id, is_in_window order by event_timestamp desc
            ) = 1
    )
    select
        user_id,
        list_transform(newest, lambda b: b.k) as content_keys,
        list_transform(newest, lambda b: b.t) as content_texts,
        list_transform(newest, lambda b: b.c) as leaf_category_ids,
        list_transform(newest, lambda b: b.a) as actions,
        list_transform(newest, lambda b: b.u) as occurred_at_us,
        event_timestamp, now() as created_at,
    from (
        select user_id, event_timestamp, history[greatest(past - 49, 1):past] as newest
        from exported
        inner join histories using (user_id)
    )
) to 'user_behaviors.parquet';
