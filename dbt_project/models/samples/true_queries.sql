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
        1 as searches,
        0 as hint_clicks,
    from {{ ref('behaviors') }}
    where action = 'search' and {{ in_changed_days('behavior_date') }}

),

clicked as (

    select
        requests.user_id,
        {{ shop_date('candidates.clicked_at') }} as session_date,
        candidates.query_text,
        0 as searches,
        1 as hint_clicks,
    from {{ ref('candidates') }} as candidates
    inner join {{ ref('requests') }} as requests using (request_id, request_date)
    where
        -- A replayed request shows what was searched to nobody.
        not requests.is_replayed
        and candidates.is_displayed
        and candidates.clicked_at is not null
        and {{ from_changed_days('candidates.clicked_at') }}
        and {{ in_changed_days(shop_date('candidates.clicked_at')) }}

),

-- Every click on a hint starts a search of it; who searched more often did so unprompted too.
final as (

    select
        queries.user_id,
        queries.session_date,
        queries.query_text,
        sum(queries.searches) > sum(queries.hint_clicks) as is_searched,
        sum(queries.hint_clicks) > 0 as is_hint_click,
    from (select * from searched union all select * from clicked) as queries
    inner join shop on queries.session_date > shop.train_end_date
    group by queries.user_id, queries.session_date, queries.query_text

)

select * from final
