{{ config(materialized='incremental', incremental_strategy='changed', meta={'day': 'event_date'}) }}

with events as (

    select * from {{ ref('stg_events') }}
    where
        action in ('search', 'item_click', 'cart', 'order')
        and {{ in_changed_days('event_date') }}

),

credited as (

    select
        event_id,
        user_id,
        occurred_at,
        event_date,
        action,
        item_id,
        -- Other actions may hold a text too; what was searched decides.
        last_value(case when action = 'search' then query_text end ignore nulls) over (
            partition by user_id, event_date
            order by occurred_at, event_id
            rows between unbounded preceding and current row
        ) as query_text,
    from events

),

final as (

    select
        event_id,
        user_id,
        occurred_at,
        event_date,
        action,
        item_id,
        query_text,
    from credited
    where action <> 'search' and query_text is not null and item_id is not null

)

select * from final
