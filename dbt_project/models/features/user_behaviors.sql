-- Several behaviours at one moment make one row.
with moments as (

    select
        user_id,
        occurred_at,
        behavior_date,
        max(behavior_index) as newest_index,
    from {{ ref('behaviors') }}
    group by user_id, occurred_at, behavior_date

),

last_day as (

    select {{ shop_date('last_event_at') }} as last_date from {{ ref('shop') }}

),

-- The newest days whole; before them each user's last row, so that nobody's context is lost.
exported as (

    select
        moments.user_id,
        moments.occurred_at,
        moments.newest_index,
        moments.behavior_date > last_day.last_date - {{ var('feature_days') }} as is_in_window,
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
                'occurred_at_us': 'epoch_us(behaviors.occurred_at)',
            }),
            'behaviors.behavior_index',
        ) }} as behaviors,
    from exported
    inner join {{ ref('behaviors') }} as behaviors
        on
            exported.user_id = behaviors.user_id
            and behaviors.behavior_index > exported.newest_index - {{ var('max_behaviors') }}
            and behaviors.behavior_index <= exported.newest_index
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

)

select * from final
