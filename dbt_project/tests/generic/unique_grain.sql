{# Each combination of `columns` comes once, and none of them is null: one look at a table where dbt's
   `unique` and `not_null` are two or more. Rows are counted by a hash, which is cheaper by far than
   to sort or hash their texts; what shares a hash is then compared as it is. #}
{% test unique_grain(model, columns) %}
with suspects as (

    select {{ row_hash(columns) }} as row_hash
    from {{ model }}
    group by row_hash
    having
        count(*) > 1
        {% for column in columns -%}
        or count({{ column }}) < count(*)
        {% endfor %}

)

select
    {{ columns | join(', ') }},
    count(*) as copies,
from {{ model }}
where {{ row_hash(columns) }} in (select row_hash from suspects)
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {% for column in columns -%}
    or {{ column }} is null
    {% endfor %}
{% endtest %}
