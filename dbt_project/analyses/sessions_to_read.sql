-- Sessions of the newest day to read by eye, those with the longest context first: what the user did, what the labels are.
select
    session_id,
    session_start_at,
    list_transform(
        behaviors[-8:],
        lambda b: b.days_ago || 'd ' || b.action || ' ' || b.content_text
    ) as newest_behaviors,
    labels,
from {{ ref('samples_direct') }}
where session_date = (select max(session_date) from {{ ref('samples_direct') }})
order by len(behaviors) desc, session_id
