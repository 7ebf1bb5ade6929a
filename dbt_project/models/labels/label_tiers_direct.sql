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

-- Two spellings of one query in a request: the better placed one stands for both.
queries as (

    select
        session_id,
        session_date,
        is_replayed,
        query_text,
        max(rank_score) as rank_score,
        min({{ make_struct({'score': "coalesce(-rank_score, 'infinity')", 'rank': 'rank'}) }}) as best,
        min(
            case when is_click then {{ make_struct({
                'clicked_at': 'clicked_at', 'rank': 'rank', 'rank_score': 'rank_score'
            }) }} end
        ) as first_click,
    from candidates
    group by session_id, session_date, is_replayed, query_text

),

tiers as (

    select
        *,
        'click' as tier,
        1 as tier_order,
        cast({{ to_microseconds('first_click.clicked_at') }} as double) as first_key,
        first_click.rank as second_key,
        first_click.rank_score as tier_score,
        false as is_repeated,
    from queries
    where first_click is not null

    union all

    select
        *,
        'rank' as tier,
        2 as tier_order,
        best.score as first_key,
        best.rank as second_key,
        rank_score as tier_score,
        first_click is not null as is_repeated,
    from queries

),

final as (

    select
        session_id,
        session_date,
        tier,
        tier_order,
        first_key,
        cast(second_key as bigint) as second_key,
        query_text,
        tier_score as rank_score,
        first_click is not null as is_clicked,
        is_repeated,
        is_replayed,
    from tiers

)

select * from final
