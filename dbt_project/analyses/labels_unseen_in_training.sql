-- How much of the test days' labels and true queries never occurred as a label in training?
with trained as (

    select distinct unnest(labels) as query_text
    from {{ ref('samples_direct') }}
    where split = 'train'

),

wanted as (

    select
        'label' as kind,
        session_date,
        unnest(labels) as query_text,
    from {{ ref('samples_direct') }}
    where split = 'test'

    union all

    select
        'true query' as kind,
        session_date,
        unnest(true_queries) as query_text,
    from {{ ref('test_user_days') }}

)

select
    wanted.kind,
    wanted.session_date,
    count(*) as queries,
    count(distinct wanted.query_text) as distinct_queries,
    round(
        avg(cast(wanted.query_text not in (select query_text from trained) as integer)), 4
    ) as unseen_share,
from wanted
group by wanted.kind, wanted.session_date
order by wanted.kind, wanted.session_date
