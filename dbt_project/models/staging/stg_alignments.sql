{{ config(materialized='view') }}

-- Of several runs over a candidate the newest counts: run ids start with their time.
select
    session_id,
    query_text,
    is_aligned,
    reason,
from {{ source('think', 'alignments') }}
qualify row_number() over (
    partition by session_id, query_text order by run_id desc, is_aligned
) = 1
