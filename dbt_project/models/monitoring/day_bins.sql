{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'stat_date', 'fitted_on': 'score_edges'}
) }}

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
    where {{ in_changed_days('events.event_date', fitted_on='score_edges') }}

),

candidates as (

    select
        request_date,
        request_id,
        recall_source,
        rank_score,
    from {{ ref('stg_hint_candidates') }}
    where request_date is not null and {{ in_changed_days('request_date', fitted_on='score_edges') }}

),

-- Counted by user or request: what one user does is alike, and would look like drift. Column by
-- column, which is half the work of counting all of them as one.
final as (

    select
        event_date as stat_date,
        'events.action' as column_name,
        action as bin,
        count(distinct user_id) as amount,
    from events
    group by all

    union all

    select
        event_date,
        'events.hour',
        cast(hour as varchar),
        count(distinct user_id),
    from events
    group by event_date, hour

    union all

    select
        event_date,
        'events.leaf_category_id',
        coalesce(leaf_category_id, 'none') as bin,
        count(distinct user_id),
    from events
    where action in ('item_click', 'cart', 'order')
    group by event_date, bin

    union all

    select
        event_date,
        'events.query_length',
        cast(least(length(query_text) // 5, 9) as varchar) as bin,
        count(distinct user_id),
    from events
    where action = 'search' and query_text is not null
    group by event_date, bin

    union all

    select
        request_date,
        'candidates.recall_source',
        coalesce(recall_source, 'none') as bin,
        count(distinct request_id),
    from candidates
    group by request_date, bin

    union all

    select
        candidates.request_date,
        'candidates.rank_score',
        case
            when candidates.rank_score is null then 'none'
            else cast({{ count_below('edges.edges', 'candidates.rank_score') }} as varchar)
        end as bin,
        count(distinct candidates.request_id),
    from candidates
    cross join {{ ref('score_edges') }} as edges
    group by candidates.request_date, bin

)

select * from final
