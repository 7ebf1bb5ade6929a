{{ config(materialized='view', meta={'day': 'session_date'}) }}

with instances as (

    select * from {{ ref('test_user_days') }}

),

popular as (

    select
        behaviors.content_text as query_text,
        cast(row_number() over (
            order by count(distinct behaviors.user_id) desc, behaviors.content_text
        ) as integer) as position,
    from {{ ref('behaviors') }} as behaviors
    inner join {{ ref('shop') }} as shop on behaviors.behavior_date <= shop.train_end_date
    where behaviors.action = 'search'
    group by behaviors.content_text
    qualify position <= 30

),

final as (

    select
        instances.instance_id,
        instances.user_id,
        instances.session_date,
        popular.position,
        popular.query_text,
    from instances
    cross join popular

)

select * from final
