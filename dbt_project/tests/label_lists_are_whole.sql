-- Positions run 1..n without a gap, n is at most the list length, and both orders hold the same. (Each
-- position comes once, says the table's grain.)
{% set longest = [var('direct_list_length'), var('think_list_length')] | max %}
select
    session_id,
    variant,
    count(*) as labels,
from {{ ref('label_lists') }}
where {{ in_tested_days('session_date') }}
group by session_id, variant
having
    count(*) > case variant
        when 'direct' then {{ var('direct_list_length') }} else {{ var('think_list_length') }}
    end
    or min(position) <> 1
    or max(position) <> count(*)
    or min(log_position) <> 1
    or max(log_position) <> count(*)
    or {{ count_different('log_position', longest) }} <> count(*)
