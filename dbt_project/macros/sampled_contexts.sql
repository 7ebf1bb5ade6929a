{# Every context that a model is trained or tested on, one row each, for tests to check. `limit`: the
   same so many instances of each table every time, none for all. #}
{% macro sampled_contexts(limit=none) %}
{% for table, key in [
    ('samples_direct', 'session_id'),
    ('samples_think', 'session_id'),
    ('samples_ctr', 'session_id'),
    ('test_user_days', 'instance_id'),
] %}
    select
        '{{ table }}' as sample,
        {{ key }} as instance_id,
        user_id,
        session_start_at,
        session_date,
        behaviors,
    from {{ ref(table) }} as contexts
    where {{ in_tested_contexts('contexts.user_id', 'contexts.session_date') }}
    {% if limit %}
        and {{ key }} in (
            select {{ key }} from {{ ref(table) }} as contexts
            where {{ in_tested_contexts('contexts.user_id', 'contexts.session_date') }}
            order by md5({{ key }}), {{ key }}
            limit {{ limit }}
        )
    {% endif %}
    {{ 'union all' if not loop.last }}
{% endfor %}
{% endmacro %}
