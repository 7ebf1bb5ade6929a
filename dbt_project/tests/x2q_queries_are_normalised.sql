-- A query in another spelling would never meet its score or its statistics.
select query_text
from (select distinct unnest(queries) as query_text from {{ ref('stg_x2q_triples') }})
where query_text is distinct from normalize_query(query_text) or query_text = ''
