{{ config(materialized='view', meta={'day': 'session_date'}) }}

with instances as (

    select * from {{ ref('test_user_days') }}

),

training_queries as (

    select * from {{ ref('training_queries') }}

),

wanted as (

    select
        instance_id,
        user_id,
        session_date,
        searched_queries,
        hint_clicked_queries,
        {{ searches_of('behaviors') }} as earlier_searches,
        unnest(true_queries) as query_text,
    from instances

),

final as (

    select
        wanted.instance_id,
        wanted.user_id,
        wanted.session_date,
        wanted.query_text,
        list_contains(wanted.searched_queries, wanted.query_text) as is_searched,
        list_contains(wanted.hint_clicked_queries, wanted.query_text) as is_hint_click,
        not list_contains(wanted.earlier_searches, wanted.query_text) as is_novel,
        coalesce(training_queries.band, 'unseen') as band,
    from wanted
    left join training_queries on wanted.query_text = training_queries.query_text

)

select * from final
