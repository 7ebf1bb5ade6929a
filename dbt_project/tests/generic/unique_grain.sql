{# Each combination of `columns` comes once, and none of them is null: one look at a table where dbt's
   `unique` and `not_null` are two or more. Rows are counted by a hash, which is cheaper by far than
   to sort or hash their texts; what shares a hash is then compared as it is.

   numbered_to: the last column holds whole numbers from 1 to this one. Then the others are the groups,
   and it is enough to ask how many different numbers each holds. #}
{% test unique_grain(model, columns, numbered_to=none) %}
{% if numbered_to %}
select
    {{ columns[:-1] | join(', ') }},
    count(*) as rows_in_group,
    {{ count_different(columns[-1], numbered_to) }} as different_numbers,
from {{ model }}
group by {{ columns[:-1] | join(', ') }}
having
    rows_in_group <> different_numbers
    {% for column in columns[:-1] -%}
    or {{ column }} is null
    {% endfor %}
{% else %}
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
{% endif %}
{% endtest %}
