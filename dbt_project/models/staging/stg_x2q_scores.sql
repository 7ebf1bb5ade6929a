{{ config(materialized='view') }}

-- Of several runs over a pair the newest counts: run ids start with their time.
select
    trigger,
    query_text,
    relevance,
    predicted_ctr,
from {{ source('serving', 'x2q_scores') }}
qualify row_number() over (
    partition by trigger, query_text order by run_id desc, relevance desc, predicted_ctr desc
) = 1
