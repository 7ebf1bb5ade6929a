-- Positions run 1..n without a gap, n is at most the list length, and both orders hold the same.
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
    {% for place in ['position', 'log_position'] %}
    or {{ count_different(place) }} <> count(*)
    or min({{ place }}) <> 1
    or max({{ place }}) <> count(*)
    {% endfor %}
