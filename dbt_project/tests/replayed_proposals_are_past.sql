-- What a replayed request proposes was searched on an earlier shop day by someone.
with searched as (

    select
        content_text as query_text,
        min(behavior_date) as first_date,
    from {{ ref('behaviors') }}
    where action = 'search'
    group by content_text

)

select
    candidates.request_id,
    candidates.query_text,
    searched.first_date,
from {{ ref('replayed_candidates') }} as candidates
inner join {{ ref('replayed_requests') }} as requests using (request_id)
left join searched using (query_text)
where
    {{ in_tested_days('requests.request_date') }}
    and (searched.first_date is null or searched.first_date >= requests.request_date)
