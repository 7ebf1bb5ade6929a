{{ config(materialized='view', meta={'day': 'session_date'}) }}

-- Ranked by day too: a build that asks for some days then looks at no others.

with searches as (

    select
        instance_id,
        user_id,
        session_date,
        content_text as query_text,
        sum({{ half_life('days_ago', 5) }}) as score,
        max(place) as latest_place,
    from {{ ref('test_contexts') }}
    where action = 'search'
    group by instance_id, user_id, session_date, content_text

),

final as (

    select
        instance_id,
        user_id,
        session_date,
        cast(row_number() over (
            partition by session_date, instance_id order by score desc, latest_place desc
        ) as integer) as position,
        query_text,
    from searches
    qualify position <= 30

)

select * from final
