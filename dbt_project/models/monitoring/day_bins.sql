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
    cross join {{ ref('score_edges') }} as edges

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
