{{ config(
    materialized='incremental', incremental_strategy='changed', meta={'key': 'user_id'},
    pre_hook='{{ forget_old_moments() }}'
) }}

-- Users with something new get all their rows anew; of the others only what left the window goes.
with {{ user_histories(is_changed_user('behaviors.user_id')) }},

last_day as (

    select {{ shop_date('last_event_at') }} as last_date from {{ ref('shop') }}

),

newest_moments as (

    select
        user_id,
        max(occurred_at) as occurred_at,
        max(place) as place,
    from moments
    group by user_id

),

-- Several behaviours at one moment make one row. The newest moment makes two rows: one of its own
-- time, which a join by time finds, and one that is later in each later build, which goes online
-- although only an earlier behaviour is new.
stamped as (

    select
        user_id,
        place as newest_place,
        {{ just_after('occurred_at') }} as event_timestamp,
    from moments

    union all

    select
        user_id,
        place as newest_place,
        {{ just_after('occurred_at') }} + {{ build_offset() }} as event_timestamp,
    from newest_moments

),

-- The newest days whole; before them each user's last row, so that nobody's context is lost.
exported as (

    select
        stamped.*,
        {{ shop_date(just_before('stamped.event_timestamp')) }}
        > last_day.last_date - {{ var('feature_days') }} as is_in_window,
    from stamped
    cross join last_day
    qualify
        is_in_window
        or row_number() over (
            partition by stamped.user_id, is_in_window order by stamped.event_timestamp desc
        ) = 1

),

newest as (

{{ behavior_lists('exported', var('max_behaviors')) }}

),

final as (

    select
        user_id,
        content_keys,
        content_texts,
        leaf_category_ids,
        actions,
        occurred_at_us,
        event_timestamp,
        timestamptz '{{ run_started_at.isoformat() }}' as created_at,
    from newest

)

select * from final
