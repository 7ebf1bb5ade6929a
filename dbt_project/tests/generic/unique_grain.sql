{# Each combination of `columns` comes once, and none of them is null: one look at a table where dbt's
   `unique` and `not_null` are two or more. Rows are counted by a hash, which is cheaper by far than
   to sort or hash their texts; what shares a hash is then compared as it is.

   groups: so many of the first columns make groups of few rows, which lie together. Then the hashes
   are counted group by group, which is cheaper still.
   is_numbered: the last column holds whole numbers. Then the others are the groups, and it is enough to
   ask how many different numbers each holds. #}
{% test unique_grain(model, columns, groups=none, is_numbered=false) %}
{% if is_numbered %}
select
    {{ columns[:-1] | join(', ') }},
    count(*) as rows_in_group,
    {{ count_different(columns[-1]) }} as different_numbers,
from {{ model }}
group by {{ columns[:-1] | join(', ') }}
having
    rows_in_group <> different_numbers
    {% for column in columns[:-1] -%}
    or {{ column }} is null
    {% endfor %}
{% else %}
{% set suspected = columns[:groups] if groups else columns %}
with suspects as (

    select {{ row_hash(suspected) }} as row_hash
    from {{ model }}
    group by {{ suspected | join(', ') if groups else 'row_hash' }}
    having
        count(*) > {{ count_different_hashes(columns[groups:]) if groups else 1 }}
        {% for column in columns -%}
        or count({{ column }}) < count(*)
        {% endfor %}

)

select
    {{ columns | join(', ') }},
    count(*) as copies,
from {{ model }}
where {{ row_hash(suspected) }} in (select row_hash from suspects)
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {% for column in columns -%}
    or {{ column }} is null
    {% endfor %}
{% endif %}
{% endtest %}
