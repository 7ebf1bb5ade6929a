{{ config(materialized='view', meta={'day': 'session_date'}) }}

with instances as (

    select * from {{ ref('test_user_days') }}

),

shares as (

{{ query_shares() }}

),

popular as (

    select
        query_text,
        share,
        cast(row_number() over (order by popularity desc, query_text) as integer) as position,
    from shares
    qualify position <= 30

),

final as (

    select
        instances.instance_id,
        instances.user_id,
        instances.session_date,
        popular.position,
        popular.query_text,
        popular.share,
    from instances
    cross join popular

)

select * from final
