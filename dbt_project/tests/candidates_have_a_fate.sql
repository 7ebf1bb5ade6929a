-- A candidate is kept, or it says why not; the kept ones are the list. Days are compared by the sum of
-- their rows' hashes, and sessions of the days that differ, if there are any.
with labels as (

    {% for table, sign, is_wanted in [('label_candidates', 1, 'is_kept'), ('label_lists', -1, 'true')] %}
    {{ 'union all' if not loop.first }}
    select
        session_id,
        session_date,
        variant,
        {{ row_hash(['session_id', 'variant', 'tier', 'query_text']) }} as row_hash,
        {{ sign }} as sign,
    from {{ ref(table) }}
    where {{ is_wanted }} and {{ in_tested_days('session_date') }}
    {% endfor %}

),

days as (

    select session_date
    from labels
    group by session_date
    having
        sum(case when sign > 0 then row_hash else 0 end)
        <> sum(case when sign < 0 then row_hash else 0 end)

)

select
    session_id,
    variant,
    'kept candidates are not the list' as fault,
from labels
where session_date in (select session_date from days)
group by session_id, variant, row_hash
having sum(sign) <> 0

union all

select
    session_id,
    variant,
    'kept with a reason to drop, or dropped without' as fault,
from {{ ref('label_candidates') }}
where {{ in_tested_days('session_date') }} and is_kept <> (drop_reason is null)
