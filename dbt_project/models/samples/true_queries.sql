with shop as (

    select * from {{ ref('shop') }}

),

searched as (

    select
        user_id,
        behavior_date as session_date,
        content_text as query_text,
    from {{ ref('behaviors') }}
    where action = 'search'

),

clicked as (

    select
        requests.user_id,
        {{ shop_date('candidates.clicked_at') }} as session_date,
        candidates.query_text,
    from {{ ref('candidates') }} as candidates
    inner join {{ ref('requests') }} as requests using (request_id)
    where candidates.is_displayed and candidates.clicked_at is not null

),

final as (

    select queries.*
    from (select * from searched union select * from clicked) as queries
    inner join shop on queries.session_date > shop.train_end_date

)

select * from final
