with users as (

    select * from {{ ref('stg_users') }}

),

seen as (

    select
        user_id,
        min(occurred_at) as first_event_at,
    from {{ ref('stg_events') }}
    group by user_id

),

final as (

    select
        user_id,
        users.age_band,
        users.gender,
        users.region,
        -- Known since registration, or since the first event where that is earlier or all there is.
        coalesce(
            least(users.registered_at, seen.first_event_at), timestamptz '1970-01-01 00:00:00+00'
        ) as event_timestamp,
    from users
    full outer join seen using (user_id)

)

select * from final
