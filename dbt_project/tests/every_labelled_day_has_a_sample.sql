-- From Think session to sample nothing gets lost: without a sample a session has no label that is kept.
select label_candidates.session_id
from {{ ref('label_candidates') }} as label_candidates
left join {{ ref('samples_think') }} as samples using (session_id, session_date)
where
    {{ in_tested_days('label_candidates.session_date') }}
    and label_candidates.variant = 'think'
    and label_candidates.is_kept
    and samples.session_id is null
