-- A query that nobody searched on a training day can reach a baseline through the context only.
with trained as (

    select distinct content_text as query_text
    from {{ ref('behaviors') }}
    where
        action = 'search'
        and behavior_date <= (select train_end_date from {{ ref('shop') }})

)

select
    instance_id,
    model,
    query_text,
from {{ ref('baseline_lists') }} as lists
where
    {{ in_tested_contexts('lists.user_id', 'lists.session_date') }}
    and model <> 'own_recent'
    and query_text not in (select query_text from trained)
