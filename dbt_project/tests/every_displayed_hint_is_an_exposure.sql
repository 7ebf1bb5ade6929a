-- From displayed candidate to exposure nothing gets lost or doubled, and no click either.
with displayed as (

    select
        request_id as session_id,
        count(*) as hints,
        count(clicked_at) as clicks,
    from {{ ref('candidates') }}
    inner join {{ ref('requests') }} using (request_id, request_date)
    where is_displayed and {{ in_tested_days('request_date') }}
    group by request_id

),

exposures as (

    select
        session_id,
        unnest(exposures, recursive := true),
    from {{ ref('samples_ctr') }}
    where {{ in_tested_days('session_date') }}

),

found as (

    select
        session_id,
        count(*) as hints,
        sum(case when is_clicked then 1 else 0 end) as clicks,
    from exposures
    group by session_id

)

select session_id
from displayed
full outer join found using (session_id)
where
    displayed.hints is distinct from found.hints
    or displayed.clicks is distinct from found.clicks
