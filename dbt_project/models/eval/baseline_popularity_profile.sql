{{ config(materialized='view', meta={'day': 'session_date'}) }}

with instances as (

    select
        instance_id,
        user_id,
        session_date,
        coalesce(gender, 'unknown') as gender,
        coalesce(age_band, 'unknown') as age_band,
        coalesce(region, 'unknown') as region,
    from {{ ref('test_user_days') }}

),

popularity as (

    select * from {{ ref('baseline_popularity') }}

),

known as (

    select
        instances.instance_id,
        instances.user_id,
        instances.session_date,
        profile_queries.position,
        profile_queries.query_text,
    from instances
    inner join {{ ref('profile_queries') }} as profile_queries using (gender, age_band, region)

),

final as (

    select * from known

    union all

    -- Nobody of this profile searched anything on training days.
    select instance_id, user_id, session_date, position, query_text
    from popularity
    anti join known using (instance_id)

)

select * from final
