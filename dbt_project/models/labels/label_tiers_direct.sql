{{ config(materialized='view', meta={'day': 'session_date'}) }}

with candidates as (

    select
        candidates.request_id as session_id,
        sessions.session_date,
        sessions.is_replayed,
        candidates.query_text,
        candidates.rank,
        candidates.rank_score,
        candidates.clicked_at,
        candidates.is_displayed and candidates.clicked_at is not null as is_click,
    from {{ ref('sessions_direct') }} as sessions
    inner join {{ ref('candidates') }} as candidates
        on
            sessions.session_id = candidates.request_id
            and sessions.session_date = candidates.request_date

),

clicked as (

    select
        *,
        'click' as tier,
        1 as tier_order,
        row_number() over (
            partition by session_date, session_id order by clicked_at, rank
        ) as tier_position,
        true as is_clicked,
    from candidates
    where is_click

),

ranked as (

    select
        *,
        'rank' as tier,
        2 as tier_order,
        row_number() over (
            partition by session_date, session_id order by rank_score desc nulls last, rank
        ) as tier_position,
        bool_or(is_click) over (
            partition by session_date, session_id, query_text
        ) as is_clicked,
    from candidates

),

-- Every window is cut by day, too: a build reads the days that it builds.
-- Two spellings of one query in a request: the better placed one stands for both.
final as (

    select
        session_id,
        session_date,
        tier,
        tier_order,
        tier_position,
        query_text,
        rank_score,
        is_clicked,
        is_replayed,
    from (select * from clicked union all select * from ranked)
    qualify row_number() over (
        partition by session_date, session_id, tier, query_text order by tier_position
    ) = 1

)

select * from final
