-- A candidate is kept, or it says why not; the kept ones are the list.
select
    session_id,
    tier,
    query_text,
from {{ ref('label_candidates') }} as label_candidates
left join {{ ref('label_lists') }} as label_lists using (session_date, session_id, variant, tier, query_text)
where
    {{ in_tested_days('label_candidates.session_date') }}
    and (
        label_candidates.is_kept <> (label_candidates.drop_reason is null)
        or label_candidates.is_kept <> (label_lists.position is not null)
    )
