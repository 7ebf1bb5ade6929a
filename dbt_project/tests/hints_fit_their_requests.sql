{{ config(severity='warn') }}

-- Candidates of a request that is not there, and hints that were clicked before they were asked for. A
-- warning: the request may still come, and there may be two clocks. A build speaks of new
-- candidates and requests, `dbt test` of all.
with candidates as (

    select
        request_id,
        rank,
        request_date,
        clicked_at,
    from {{ ref('stg_hint_candidates') }}
    where
        (request_date is null or clicked_at is not null)
        {% if flags.WHICH == 'build' and builds_on() %}
        and request_id in (
            select request_id from {{ rows_inserted_since('raw', 'hint_candidates', built_snapshot()) }}
            union all
            select request_id from {{ rows_inserted_since('raw', 'hint_requests', built_snapshot()) }}
        )
        {% endif %}

),

faults as (

    select
        candidates.request_id,
        candidates.rank,
        case
            when candidates.request_date is null then 'there is no such request'
            else 'clicked before it was asked for'
        end as fault,
    from candidates
    left join {{ ref('stg_hint_requests') }} as requests using (request_id, request_date)
    where candidates.request_date is null or candidates.clicked_at < requests.requested_at

)

select
    request_id,
    fault,
    count(*) as candidates,
    min(rank) as first_rank,
from faults
group by request_id, fault
