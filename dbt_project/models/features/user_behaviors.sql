{{ config(
    materialized='incremental', incremental_strategy='changed', meta={'key': 'user_id'},
    pre_hook='{{ forget_old_moments() }}'
) }}

{% set is_changed = is_changed_user('moments.user_id') %}
-- Users with something new get all their rows anew; of the others only what left the window goes.
with {{ user_histories(
    'select moments.user_id from ' ~ ref('behaviors') ~ ' as moments where ' ~ is_changed
) }},

last_day as (

    select {{ shop_date('last_event_at') }} as last_date from {{ ref('shop') }}

),

feature_window as (

    select {{ day_start("(last_date - " ~ (var('feature_days') - 1) ~ ")") }} as begins_at
    from last_day

),

newest_moments as (

    select
        moments.user_id,
        max(moments.occurred_at) + {{ build_offset() }} as built_at,
        max(
            case when moments.occurred_at < feature_window.begins_at then moments.occurred_at end
        ) as earlier_at,
    from moments
    cross join feature_window
    where {{ is_changed }}
    group by moments.user_id

),

-- Several behaviours at one moment make one row. The newest days have all of them; before these days
-- each user has the last one, so that nobody's context is lost. The newest moment makes one row of
-- its own time, which a join by time finds, and one that is later in each later build, which goes
-- online although only an earlier behaviour is new. Where the latter is before the newest days, too,
-- it is the user's last one there, and the only row.
stamped as (

    select
        moments.user_id,
        moments.occurred_at as stamped_at,
    from moments
    cross join feature_window
    where
        moments.occurred_at >= feature_window.begins_at
        and {{ is_changed }}

    union all

    select
        user_id,
        built_at as stamped_at,
    from newest_moments

    union all

    select
        newest_moments.user_id,
        newest_moments.earlier_at as stamped_at,
    from newest_moments
    cross join feature_window
    where
        newest_moments.earlier_at is not null
        and newest_moments.built_at >= feature_window.begins_at

),

exported as (

    select
        user_id,
        {{ just_after('stamped_at') }} as event_timestamp,
        {{ just_after('stamped_at') }} as predicted_at,
    from stamped

),

placed as (

{{ with_places('exported') }}

),

newest as (

{{ behavior_lists('placed', var('max_behaviors')) }}

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
