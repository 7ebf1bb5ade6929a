{{ config(severity='warn') }}

-- An event that is dated long before the others makes its day the first of the training days, and all that
-- is worth training on a test.
select
    count(*) as samples,
    min(session_date) as first_sample_date,
    (select first_date from {{ ref('shop') }}) as first_date,
    (select train_end_date from {{ ref('shop') }}) as train_end_date,
from (
    select
        session_date,
        split,
    from {{ ref('samples_direct') }}

    union all

    select
        session_date,
        split,
    from {{ ref('samples_think') }}
)
having count(*) > 0 and count(case when split = 'train' then 1 end) = 0
