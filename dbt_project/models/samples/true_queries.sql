{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with shop as (

    select * from {{ ref('shop') }}

),

searched as (

    select
        user_id,
        behavior_date as session_date,
        content_text as query_text,
    from {{ ref('behaviors') }}
    where action = 'search' and {{ in_changed_days('behavior_date') }}

),

clicked as (

    select
        requests.user_id,
        {{ shop_date('candidates.clicked_at') }} as session_date,
        candidates.query_text,
    from {{ ref('candidates') }} as candidates
    inner join {{ ref('requests') }} as requests using (request_id, request_date)
    where
        candidates.is_displayed
        and candidates.clicked_at is not null
        and {{ from_changed_days('candidates.clicked_at') }}
        and {{ in_changed_days(shop_date('candidates.clicked_at')) }}

),

final as (

    select queries.*
    from (select * from searched union select * from clicked) as queries
    inner join shop on queries.session_date > shop.train_end_date

)

select * from final
