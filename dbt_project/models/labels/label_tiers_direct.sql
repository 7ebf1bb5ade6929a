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
        row_number() over (
            partition by session_date, session_id order by first_click.clicked_at, first_click.rank
        ) as tier_position,
    from queries
    where first_click is not null

    union all

    select
        *,
        'rank' as tier,
        2 as tier_order,
        row_number() over (
            partition by session_date, session_id order by best.score, best.rank
        ) as tier_position,
    from queries

),

final as (

    select
        session_id,
        session_date,
        tier,
        tier_order,
        tier_position,
        query_text,
        case tier when 'click' then first_click.rank_score else rank_score end as rank_score,
        first_click is not null as is_clicked,
        is_replayed,
    from tiers

)

select * from final
