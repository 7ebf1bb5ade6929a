{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'request_date'}
) }}

-- Stands in for HintQ requests in a shop that has none: one as each user's day begins.
with events as (

    select * from {{ ref('stg_events') }}
    where {{ in_changed_days('event_date') }}

),

shop as (

    select * from {{ ref('shop') }}

),

final as (

    select
        'replay:' || events.user_id || ':' || cast(events.event_date as varchar) as request_id,
        events.user_id,
        min(events.occurred_at) as requested_at,
        events.event_date as request_date,
        true as is_replayed,
    from events
    cross join shop
    where shop.is_replayed
    group by events.user_id, events.event_date

)

select * from final
