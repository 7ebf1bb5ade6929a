{{ config(materialized='view', meta={'day': 'session_date'}) }}

-- Ranked by day too: a build that asks for some days then looks at no others.

with scores as (

    select * from {{ ref('co_click_scores') }}
    where co_click > 0

),

final as (

    select
        instance_id,
        user_id,
        session_date,
        cast(row_number() over (
            partition by session_date, instance_id order by co_click desc, query_text
        ) as integer) as position,
        query_text,
    from scores
    qualify position <= 30

)

select * from final
