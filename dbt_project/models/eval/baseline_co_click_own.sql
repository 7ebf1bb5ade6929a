{{ config(materialized='view', meta={'day': 'session_date'}) }}

-- Ranked by day too: a build that asks for some days then looks at no others.

with scores as (

    select * from {{ ref('co_click_scores') }}

),

popularity as (

    select * from {{ ref('baseline_popularity') }}

),

-- The weights were chosen on a development day: training/LOG.md.
votes as (

    select
        instance_id,
        user_id,
        session_date,
        query_text,
        co_click + 0.5 * own as vote,
    from scores

    union all

    select
        instance_id,
        user_id,
        session_date,
        query_text,
        3 * share as vote,
    from popularity

),

final as (

    select
        instance_id,
        user_id,
        session_date,
        cast(row_number() over (
            partition by session_date, instance_id order by sum(vote) desc, query_text
        ) as integer) as position,
        query_text,
    from votes
    group by instance_id, user_id, session_date, query_text
    qualify position <= 30

)

select * from final
