{{ config(materialized='view', meta={'day': 'session_date'}) }}

with sessions as (

{{ numbered_sessions('direct') }}

),

queries as (

{{ numbered_queries() }}

),

candidates as (

    select
        sessions.session_date,
        sessions.session_number,
        queries.query_number,
        candidates.rank,
        candidates.rank_score,
        candidates.clicked_at,
        candidates.is_displayed and candidates.clicked_at is not null as is_click,
    from sessions
    inner join {{ ref('candidates') }} as candidates
        on
            sessions.session_id = candidates.request_id
            and sessions.session_date = candidates.request_date
    inner join queries on candidates.query_text = queries.query_text

),

-- Two spellings of one query in a request: the better placed one stands for both.
scored as (

    select
        session_date,
        session_number,
        query_number,
        max(rank_score) as rank_score,
        min({{ make_struct({'score': "coalesce(-rank_score, 'infinity')", 'rank': 'rank'}) }}) as best,
        min(
            case when is_click then {{ make_struct({
                'clicked_at': 'clicked_at', 'rank': 'rank', 'rank_score': 'rank_score'
            }) }} end
        ) as first_click,
    from candidates
    group by session_date, session_number, query_number

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
    from scored
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
    from scored

),

final as (

    select
        sessions.session_id,
        tiers.session_date,
        tiers.session_number,
        tiers.tier,
        tiers.tier_order,
        tiers.first_key,
        cast(tiers.second_key as bigint) as second_key,
        queries.query_text,
        tiers.query_number,
        tiers.tier_score as rank_score,
        tiers.first_click is not null as is_clicked,
        tiers.is_repeated,
        sessions.is_replayed,
    from tiers
    inner join sessions using (session_date, session_number)
    inner join queries using (query_number)

)

select * from final
