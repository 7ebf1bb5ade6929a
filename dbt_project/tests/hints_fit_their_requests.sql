{{ config(severity='warn') }}

-- Candidates that wait for a request that has not come, and hints that were clicked before they were asked
-- for. A warning: the one may still come, and the other may be two clocks.
with candidates as (

    select
        request_id,
        rank,
        request_date,
        clicked_at,
    from {{ ref('stg_hint_candidates') }}
    where request_date is null or (clicked_at is not null and {{ in_tested_days('request_date') }})

)

select
    candidates.request_id,
    candidates.rank,
    candidates.clicked_at,
    requests.requested_at,
from candidates
left join {{ ref('stg_hint_requests') }} as requests using (request_id, request_date)
where candidates.request_date is null or candidates.clicked_at < requests.requested_at
