with shop as (

    select
        last_event_at,
        shop_timezone,
        {{ shop_date('last_event_at') }} as last_date,
    from {{ ref('shop') }}

),

popular as (

    select
        behaviors.content_text as query_text,
        row_number() over (
            order by count(distinct behaviors.user_id) desc, behaviors.content_text
        ) as place,
    from {{ ref('behaviors') }} as behaviors
    cross join shop
    where behaviors.action = 'search' and behaviors.behavior_date > shop.last_date - 7
    group by behaviors.content_text
    qualify place <= 30

),

lists as (

    select {{ list_in_order('query_text', 'place') }} as queries from popular

),

final as (

    select
        'home' as surface,
        lists.queries,
        shop.shop_timezone,
        {{ just_after('shop.last_event_at') }} + {{ build_offset() }} as event_timestamp,
        timestamptz '{{ run_started_at.isoformat() }}' as created_at,
    from lists
    cross join shop
    where lists.queries is not null

)

select * from final
