{{ config(materialized='view', meta={'day': 'session_date'}) }}

with behaviors as (

    select
        instance_id,
        user_id,
        session_date,
        unnest(behaviors) as behavior,
        unnest(range(len(behaviors))) as place,
    from {{ ref('test_user_days') }}

),

final as (

    select
        instance_id,
        user_id,
        session_date,
        place,
        behavior.days_ago,
        behavior.action,
        behavior.content_key,
        behavior.content_text,
    from behaviors

)

select * from final
