{{ config(materialized='view', meta={'day': 'session_date'}) }}

with sessions as (

    select * from {{ ref('sessions_think') }}

),

-- Recorded requests only: a replayed one proposes what the user then searched.
scored as (

    select
        sessions.session_id,
        sessions.session_date,
        candidates.query_text,
        true as is_scored,
        candidates.rank_score,
        case when candidates.is_displayed then candidates.clicked_at end as clicked_at,
        cast(null as timestamptz) as searched_at,
        cast(null as integer) as teacher_rank,
        false as is_proposed,
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

searched as (

    select
        sessions.session_id,
        sessions.session_date,
        events.query_text,
        false as is_scored,
        null as rank_score,
        null as clicked_at,
        events.occurred_at as searched_at,
        null as teacher_rank,
        false as is_proposed,
    from sessions
    inner join {{ ref('stg_events') }} as events
        on
            sessions.user_id = events.user_id
            and sessions.session_date = events.event_date
            and events.occurred_at between sessions.session_start_at and sessions.session_end_at
    where events.action = 'search' and events.query_text is not null

),

proposed as (

    select
        sessions.session_id,
        sessions.session_date,
        proposed.query_text,
        false as is_scored,
        null as rank_score,
        null as clicked_at,
        null as searched_at,
        proposed.teacher_rank,
        true as is_proposed,
    from {{ ref('stg_llm_candidates') }} as proposed
    inner join sessions using (session_id)

),

final as (

    select
        session_id,
        session_date,
        query_text,
        bool_or(is_scored) as is_scored,
        max(rank_score) as rank_score,
        count(clicked_at) as clicks,
        max(clicked_at) as latest_click_at,
        count(searched_at) as searches,
        max(searched_at) as latest_search_at,
        bool_or(is_proposed) as is_proposed,
        min(teacher_rank) as teacher_rank,
    from (
        select * from scored union all select * from searched union all select * from proposed
    )
    group by session_id, session_date, query_text

)

select * from final
