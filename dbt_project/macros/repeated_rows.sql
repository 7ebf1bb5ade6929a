{# Values that come more than once, or, if asked, hold a null. Rows are counted by a hash, which is
   cheaper by far than to sort or hash their texts; what shares a hash is then compared as it is. #}
{% macro repeated_rows(model, columns, or_null) %}
with suspects as (

    select {{ row_hash(columns) }} as row_hash
    from {{ model }}
    group by row_hash
    having
        count(*) > 1
        {% if or_null %}{% for column in columns -%}
        or count({{ column }}) < count(*)
        {% endfor %}{% endif %}

)

select
    {{ columns | join(', ') }},
    count(*) as copies,
from {{ model }}
where {{ row_hash(columns) }} in (select row_hash from suspects)
group by {{ columns | join(', ') }}
having
    {% if or_null %}
    count(*) > 1
    {% for column in columns -%}
    or {{ column }} is null
    {% endfor %}
    {% else %}
    count(*) > 1 and {{ columns | join(' is not null and ') }} is not null
    {% endif %}
{% endmacro %}
