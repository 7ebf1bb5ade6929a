-- A query that nobody searched on a training day can reach a baseline through the context only.
with trained as (

    select distinct content_text as query_text
    from {{ ref('behaviors') }}
    where
        action = 'search'
        and behavior_date <= (select train_end_date from {{ ref('shop') }})

),

own as (

    select
        instance_id,
        content_text as query_text,
    from {{ ref('test_contexts') }} as contexts
    where
        action = 'search'
        and {{ in_tested_contexts('contexts.user_id', 'contexts.session_date') }}

)

select
    lists.instance_id,
    lists.model,
    lists.query_text,
from {{ ref('baseline_lists') }} as lists
where
    {{ in_tested_contexts('lists.user_id', 'lists.session_date') }}
    and lists.query_text not in (select query_text from trained)
    and not exists (
        select 1 from own
        where own.instance_id = lists.instance_id and own.query_text = lists.query_text
    )
