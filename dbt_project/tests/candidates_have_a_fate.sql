-- A candidate is kept, or it says why not; the kept ones are the list, of every day and variant.
with candidates as (

    select
        session_date,
        variant,
        sum(case when is_kept <> (drop_reason is null) then 1 else 0 end) as without_fate,
        sum(case when is_kept then {{ row_hash(['session_id', 'tier', 'query_text']) }} else 0 end)
            as kept,
    from {{ ref('label_candidates') }}
    where {{ in_tested_days('session_date') }}
    group by session_date, variant

),

lists as (

    select
        session_date,
        variant,
        sum({{ row_hash(['session_id', 'tier', 'query_text']) }}) as kept,
    from {{ ref('label_lists') }}
    where {{ in_tested_days('session_date') }}
    group by session_date, variant

)

select
    session_date,
    variant,
    candidates.without_fate,
    candidates.kept,
    lists.kept as listed,
from candidates
full outer join lists using (session_date, variant)
where candidates.without_fate > 0 or coalesce(candidates.kept, 0) <> coalesce(lists.kept, 0)
