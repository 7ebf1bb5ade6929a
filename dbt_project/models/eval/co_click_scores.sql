{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'session_date', 'user': 'user_id', 'fitted_on': 'training_days'}
) }}

with contents as (

    select
        instance_id,
        user_id,
        session_date,
        content_key,
        max(case when action = 'search' then content_text end) as query_text,
        cast(sqrt(sum({{ half_life('days_ago', 7) }})) as decimal(18, 12)) as freshness,
    from {{ ref('test_contexts') }} as contexts
    where {{ in_changed_contexts('contexts.user_id', 'contexts.session_date', fitted_on='training_days') }}
    group by instance_id, user_id, session_date, content_key

),

weights as (

    select * from {{ ref('co_click_weights') }}

),

popular as (

    select
        query_text,
        true as is_popular,
    from {{ ref('training_queries') }}
    qualify row_number() over (order by popularity desc, query_text) <= 30

),

votes as (

    select
        contents.instance_id,
        contents.user_id,
        contents.session_date,
        weights.query_text,
        contents.freshness * weights.weight as co_click,
        0 as own,
    from contents
    inner join weights using (content_key)

    union all

    select
        instance_id,
        user_id,
        session_date,
        query_text,
        0 as co_click,
        freshness as own,
    from contents
    where query_text is not null

),

final as (

    select
        instance_id,
        user_id,
        session_date,
        query_text,
        cast(sum(co_click) as decimal(38, 24)) as co_click,
        cast(sum(own) as decimal(18, 12)) as own,
    from votes
    left join popular using (query_text)
    group by instance_id, user_id, session_date, query_text, is_popular
    -- All that can come into a list of 30, whatever own searches and popularity count.
    qualify
        row_number() over (partition by instance_id order by sum(co_click) desc, query_text) <= 30
        or sum(own) > 0
        or is_popular

)

select * from final
