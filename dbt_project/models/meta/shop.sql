with events as (

    select
        min(event_date) as first_date,
        max(occurred_at) as last_event_at,
    from {{ ref('stg_events') }}

),

requests as (

    select count(*) as requests from {{ ref('stg_hint_requests') }}

),

days as (

    select
        events.first_date,
        events.last_event_at,
        cast(events.first_date + {{ var('train_days') }} as date) as test_start_date,
        requests.requests = 0 as is_replayed,
    from events
    cross join requests

),

final as (

    select
        {{ sql_text(var('shop_timezone')) }} as shop_timezone,
        {{ var('max_behaviors') }} as max_behaviors,
        {{ var('direct_list_length') }} as direct_list_length,
        {{ var('think_list_length') }} as think_list_length,
        {{ var('train_days') }} as train_days,
        first_date,
        cast(test_start_date - 1 as date) as train_end_date,
        {{ day_start('test_start_date') }} as train_end_at,
        last_event_at,
        is_replayed,
    from days

)

select * from final
