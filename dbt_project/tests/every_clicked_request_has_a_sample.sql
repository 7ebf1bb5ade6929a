-- From clicked request to sample nothing gets lost, and nothing appears that was not clicked.
select
    session_id,
from {{ ref('sessions_direct') }} as sessions
full outer join {{ ref('samples_direct') }} as samples using (session_id, session_date)
where
    {{ in_tested_days('session_date') }}
    and (samples.session_id is null or sessions.session_id is null)
