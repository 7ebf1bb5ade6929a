{{ config(materialized='incremental', incremental_strategy='changed', meta={'whole': true}) }}

-- Rows of users with nothing new are carried over: the cost is that of the export, not of history.
with behaviors as (

    select
        *,
        row_number() over (partition by user_id order by behavior_order) as place,
    from {{ ref('behaviors') }} as behaviors
    where {{ is_changed_user('behaviors.user_id') }}

),

last_day as (

    select {{ shop_date('last_event_at') }} as last_date from {{ ref('shop') }}

),

-- Several behaviours at one moment make one row.
moments as (

    select
        user_id,
        occurred_at,
        max(place) as newest_place,
    from behaviors
    group by user_id, occurred_at

),

-- The newest days whole; before them each user's last row, so that nobody's context is lost.
exported as (

    select
        moments.*,
        {{ shop_date('moments.occurred_at') }}
        > last_day.last_date - {{ var('feature_days') }} as is_in_window,
    from moments
    cross join last_day
    qualify
        is_in_window
        or row_number() over (
            partition by moments.user_id, is_in_window order by moments.occurred_at desc
        ) = 1

),

newest as (

    select
        exported.user_id,
        exported.occurred_at as newest_at,
        {{ list_in_order(
            make_struct({
                'content_key': 'behaviors.content_key',
                'content_text': 'behaviors.content_text',
                'action': 'behaviors.action',
                'occurred_at_us': to_microseconds('behaviors.occurred_at'),
            }),
            'behaviors.place',
        ) }} as behaviors,
    from exported
    inner join behaviors
        on
            exported.user_id = behaviors.user_id
            and behaviors.place > exported.newest_place - {{ var('max_behaviors') }}
            and behaviors.place <= exported.newest_place
    group by exported.user_id, exported.occurred_at

),

final as (

    select
        user_id,
        {{ list_field('behaviors', 'content_key') }} as content_keys,
        {{ list_field('behaviors', 'content_text') }} as content_texts,
        {{ list_field('behaviors', 'action') }} as actions,
        {{ list_field('behaviors', 'occurred_at_us') }} as occurred_at_us,
        {{ just_after('newest_at') }} as event_timestamp,
    from newest
    {% if is_partial() %}

    union all

    select carried.*
    from {{ this }} as carried
    cross join last_day
    where not ({{ is_changed_user('carried.user_id') }})
    qualify
        {{ shop_date(just_before('carried.event_timestamp')) }}
        > last_day.last_date - {{ var('feature_days') }}
        or row_number() over (
            partition by
                carried.user_id,
                {{ shop_date(just_before('carried.event_timestamp')) }}
                > last_day.last_date - {{ var('feature_days') }}
            order by carried.event_timestamp desc
        ) = 1
    {% endif %}

)

select * from final
