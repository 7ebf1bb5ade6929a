{{ config(materialized='view') }}

with events as (

    select
        events.event_date,
        events.user_id,
        events.action,
        events.query_text,
        {{ shop_hour('events.occurred_at') }} as hour,
        items.leaf_category_id,
    from {{ ref('stg_events') }} as events
    left join {{ ref('stg_items') }} as items using (item_id)

),

candidates as (

    select
        {{ shop_date('requests.requested_at') }} as request_date,
        candidates.request_id,
        candidates.recall_source,
        candidates.rank_score,
    from {{ ref('stg_hint_candidates') }} as candidates
    inner join {{ ref('stg_hint_requests') }} as requests using (request_id)

),

-- Scores have any scale: their bins are the tenths of the first training day that has some.
edges as (

    select {{ quantiles('candidates.rank_score', 10) }} as edges
    from candidates
    where request_date = (
        select min(request_date) from candidates where rank_score is not null
    )

),

-- Counted by user or request: what one user does is alike, and would look like drift.
binned as (

    select
        event_date as stat_date,
        'events.action' as column_name,
        action as bin,
        user_id as unit,
    from events

    union all

    select event_date, 'events.hour', cast(hour as varchar), user_id
    from events

    union all

    select event_date, 'events.leaf_category_id', coalesce(leaf_category_id, 'none'), user_id
    from events
    where action in ('item_click', 'cart', 'order')

    union all

    select
        event_date,
        'events.query_length',
        cast(least(length(query_text) // 5, 9) as varchar),
        user_id,
    from events
    where action = 'search' and query_text is not null

    union all

    select request_date, 'candidates.recall_source', coalesce(recall_source, 'none'), request_id
    from candidates

    union all

    select
        candidates.request_date,
        'candidates.rank_score',
        case
            when candidates.rank_score is null then 'none'
            else cast({{ count_below('edges.edges', 'candidates.rank_score') }} as varchar)
        end,
        candidates.request_id,
    from candidates
    cross join edges

),

final as (

    select
        stat_date,
        column_name,
        bin,
        count(distinct unit) as amount,
    from binned
    group by stat_date, column_name, bin

)

select * from final
