with users as (

    select * from {{ ref('stg_users') }}

),

seen as (

    select distinct user_id from {{ ref('stg_events') }}

),

final as (

    select
        user_id,
        users.age_band,
        users.gender,
        users.region,
        -- Before all that is logged: nothing tells since when it holds, and what did (a first event)
        -- would move back with a late row, which online stores take for an older profile.
        timestamptz '2000-01-01 00:00:00+00' + {{ build_offset() }} as event_timestamp,
        timestamptz '{{ run_started_at.isoformat() }}' as created_at,
    from users
    full outer join seen using (user_id)

)

select * from final
