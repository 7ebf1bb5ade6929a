-- A candidate is kept, or it says why not; the kept ones are the list. Days are compared by the sum of
-- their rows' hashes, and sessions of the days that differ, if there are any.
with kept as (

    select
        session_id,
        session_date,
        variant,
        {{ row_hash(['session_id', 'variant', 'tier', 'query_text']) }} as row_hash,
    from {{ ref('label_candidates') }}
    where is_kept and {{ in_tested_days('session_date') }}

),

listed as (

    select
        session_id,
        session_date,
        variant,
        {{ row_hash(['session_id', 'variant', 'tier', 'query_text']) }} as row_hash,
    from {{ ref('label_lists') }}
    where {{ in_tested_days('session_date') }}

),

days as (

    select session_date
    from (select session_date, sum(row_hash) as kept from kept group by session_date) as of_kept
    full outer join
        (select session_date, sum(row_hash) as listed from listed group by session_date) as of_listed
        using (session_date)
    where of_kept.kept is distinct from of_listed.listed

),

differing as (

    select *, 1 as times from kept where session_date in (select session_date from days)
    union all
    select *, -1 as times from listed where session_date in (select session_date from days)

)

select
    session_id,
    variant,
    'kept candidates are not the list' as fault,
from differing
group by session_id, variant, row_hash
having sum(times) <> 0

union all

select
    session_id,
    variant,
    'kept with a reason to drop, or dropped without' as fault,
from {{ ref('label_candidates') }}
where {{ in_tested_days('session_date') }} and is_kept <> (drop_reason is null)
