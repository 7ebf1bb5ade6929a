with searches as (

    select
        query_text,
        typed_text,
        event_date as seen_date,
        1 as typed,
    from {{ ref('stg_events') }}
    where action = 'search' and query_text is not null

),

candidates as (

    select
        candidates.query_text,
        candidates.typed_text,
        {{ shop_date('requests.requested_at') }} as seen_date,
        0 as typed,
    from {{ ref('stg_hint_candidates') }} as candidates
    inner join {{ ref('stg_hint_requests') }} as requests using (request_id)

),

-- Candidates were shown, not typed: their spelling counts only where nobody typed the query.
spellings as (

    select
        query_text,
        trim(regexp_replace(typed_text, '\s+', ' ', 'g')) as display_text,
        sum(typed) as times_typed,
        count(*) as times_seen,
        min(seen_date) as first_seen_date,
    from (select * from searches union all select * from candidates)
    group by all

),

final as (

    select
        query_text,
        display_text,
        min(first_seen_date) over (partition by query_text) as first_seen_date,
    from spellings
    qualify row_number() over (
        partition by query_text
        order by times_typed desc, times_seen desc, display_text
    ) = 1

)

select * from final
