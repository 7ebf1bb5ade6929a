-- Replayed requests and real ones never stand side by side.
select
    request_id,
    request_date,
    is_replayed,
from {{ ref('requests') }}
where
    {{ in_tested_days('request_date') }}
    and is_replayed <> (select is_replayed from {{ ref('shop') }})
