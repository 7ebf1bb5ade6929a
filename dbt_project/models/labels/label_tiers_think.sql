{{ config(materialized='view', meta={'day': 'session_date'}) }}

with sessions as (

    select * from {{ ref('sessions_think') }}

),

-- Recorded requests only: a replayed one proposes what the user then searched.
candidates as (

    select
        sessions.session_id,
        sessions.session_date,
        candidates.query_text,
        candidates.rank_score,
        case when candidates.is_displayed then candidates.clicked_at end as clicked_at,
    from sessions
    inner join {{ ref('stg_hint_requests') }} as requests
        on
            sessions.user_id = requests.user_id
            and sessions.session_date = requests.request_date
            and requests.requested_at between sessions.session_start_at and sessions.session_end_at
    inner join {{ ref('stg_hint_candidates') }} as candidates
        on
            requests.request_id = candidates.request_id
            and sessions.session_date = candidates.request_date

),

scored as (

    select
        session_id,
        session_date,
        query_text,
        max(rank_score) as rank_score,
        count(clicked_at) as clicks,
        max(clicked_at) as latest_click_at,
    from candidates
    group by session_id, session_date, query_text

),

searched as (

    select
        sessions.session_id,
        sessions.session_date,
        events.query_text,
        count(*) as searches,
        max(events.occurred_at) as latest_search_at,
    from sessions
    inner join {{ ref('stg_events') }} as events
        on
            sessions.user_id = events.user_id
            and sessions.session_date = events.event_date
            and events.occurred_at between sessions.session_start_at and sessions.session_end_at
    where events.action = 'search' and events.query_text is not null
    group by sessions.session_id, sessions.session_date, events.query_text

),

proposed as (

    select
        proposed.*,
        sessions.session_date,
    from {{ ref('stg_llm_candidates') }} as proposed
    inner join sessions using (session_id)

),

-- Every window is cut by day, too: a build reads the days that it builds.
others as (

    select
        session_id,
        session_date,
        query_text,
        'search' as tier,
        3 as tier_order,
        row_number() over (
            partition by session_date, session_id
            order by searches desc, latest_search_at desc, query_text
        ) as tier_position,
    from searched

    union all

    select
        session_id,
        session_date,
        query_text,
        'llm' as tier,
        4 as tier_order,
        row_number() over (
            partition by session_date, session_id order by teacher_rank nulls last, query_text
        ) as tier_position,
    from proposed

),

tiers as (

    select
        session_id,
        session_date,
        query_text,
        rank_score,
        clicks,
        'click' as tier,
        1 as tier_order,
        row_number() over (
            partition by session_date, session_id order by clicks desc, latest_click_at desc, query_text
        ) as tier_position,
    from scored
    where clicks > 0

    union all

    select
        session_id,
        session_date,
        query_text,
        rank_score,
        clicks,
        'rank' as tier,
        2 as tier_order,
        row_number() over (
            partition by session_date, session_id order by rank_score desc nulls last, query_text
        ) as tier_position,
    from scored

    union all

    select
        others.session_id,
        others.session_date,
        others.query_text,
        scored.rank_score,
        scored.clicks,
        others.tier,
        others.tier_order,
        others.tier_position,
    from others
    left join scored using (session_date, session_id, query_text)

),

final as (

    select
        session_id,
        session_date,
        tier,
        tier_order,
        tier_position,
        query_text,
        rank_score,
        coalesce(clicks > 0, false) as is_clicked,
        false as is_replayed,
    from tiers

)

select * from final
