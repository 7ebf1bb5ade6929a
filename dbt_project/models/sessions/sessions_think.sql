{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with events as (

    select * from {{ ref('stg_events') }}
    where {{ in_changed_days('event_date') }}

),

days as (

    select
        user_id,
        event_date as session_date,
        min(case when action = 'search_entry' then occurred_at end) as session_start_at,
        max(case when action = 'app_exit' then occurred_at end) as last_exit_at,
        max(occurred_at) as last_event_at,
    from events
    group by user_id, event_date

),

bounded as (

    select
        user_id || ':' || cast(session_date as varchar) as session_id,
        user_id,
        session_date,
        session_start_at,
        coalesce(last_exit_at, last_event_at) as session_end_at,
    from days

),

-- Without a search entry the start is null, and the day is no session.
final as (

    select * from bounded
    where session_start_at <= session_end_at

)

select * from final
