-- What the shop's log is like: the statistics that docs/simulator.md sets beside public ones.
with events as (

    select * from {{ ref('stg_events') }}

),

hints as (

    select * from {{ ref('stg_hint_candidates') }}
    where is_displayed

),

searches as (

    select
        query_text,
        len(string_split(query_text, ' ')) as words,
        row_number() over (
            partition by user_id, query_text order by occurred_at, event_id
        ) > 1 as is_repeated,
        event_date = max(event_date) over () as is_newest_day,
        min(event_date) over (partition by query_text) = event_date as is_new_today,
    from events
    where action = 'search'

),

queries as (

    select
        query_text,
        count(*) as searches,
        row_number() over (order by count(*) desc, query_text) as place,
        count(*) over () as queries,
    from searches
    group by query_text

),

totals as (

    select
        count(*) filter (where action = 'search_entry') as visits,
        count(*) filter (where action = 'search') as searches,
        count(*) filter (where action = 'item_click') as clicks,
        count(*) filter (where action = 'cart') as carts,
        count(*) filter (where action = 'order') as orders,
    from events

),

final as (

    select 1 as place, 'searches per distinct query' as statistic,
        avg(searches) as measured
    from queries
    union all
    select 2, 'distinct queries asked once', avg(cast(searches = 1 as integer))
    from queries
    union all
    select 3, 'searches for the top 1% of queries',
        sum(searches) filter (where place <= 0.01 * queries) / sum(searches)
    from queries
    union all
    select 4, 'words per search', avg(words) from searches
    union all
    select 5, 'searches repeating an own earlier one',
        avg(cast(is_repeated as integer))
    from searches
    union all
    select 6, 'searches of the newest day not seen before it',
        avg(cast(is_new_today as integer)) filter (where is_newest_day)
    from searches
    union all
    select 10 + position, 'clicks per impression at position ' || position,
        count(clicked_at) / count(*)
    from hints
    group by position
    union all
    select 20, 'item clicks per search', clicks / searches from totals
    union all
    select 21, 'carts per item click', carts / clicks from totals
    union all
    select 22, 'orders per cart', orders / carts from totals
    union all
    select 23, 'orders per visit with a search entry', orders / visits from totals

)

select statistic, round(measured, 3) as measured,
from final
order by place
