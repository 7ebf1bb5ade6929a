-- Replayed requests and real ones never stand side by side.
select is_replayed
from {{ ref('requests') }}
where is_replayed <> (select is_replayed from {{ ref('shop') }})
