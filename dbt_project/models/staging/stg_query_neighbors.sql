{{ config(materialized='view') }}

-- Of several runs over a query the newest counts: run ids start with their time.
select
    query_text,
    neighbor_text,
    similarity,
from {{ source('items', 'query_neighbors') }}
qualify row_number() over (
    partition by query_text order by run_id desc, similarity desc, neighbor_text
) = 1
