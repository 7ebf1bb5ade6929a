with behaviors as (

    select * from {{ ref('behaviors') }}

),

moments as (

    select
        user_id,
        occurred_at,
        behavior_date,
    from behaviors
    group by user_id, occurred_at, behavior_date

),

shop as (

    select * from {{ ref('shop') }}

),

-- The newest days whole; before them each user's last row, so that nobody's context is lost.
exported as (

    select
        moments.user_id,
        moments.occurred_at,
        moments.behavior_date > last_day.shop_date - {{ var('feature_days') }} as is_in_window,
    from moments
    cross join (
        select {{ shop_date('last_event_at') }} as shop_date from shop
    ) as last_day
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
        {{ newest_n(
            make_struct({
                'content_key': 'behaviors.content_key',
                'content_text': 'behaviors.content_text',
                'action': 'behaviors.action',
                'occurred_at_us': 'epoch_us(behaviors.occurred_at)',
            }),
            'behaviors.behavior_index',
            var('max_behaviors'),
        ) }} as behaviors,
    from exported
    inner join behaviors
        on
            exported.user_id = behaviors.user_id
            and behaviors.occurred_at <= exported.occurred_at
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
