{# Each combination of `columns` comes once, and none of them is null. Rows are counted by a hash of
   the columns, which is cheaper by far than to sort or hash their texts; what shares a hash is then
   compared as it is. #}
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

{# dbt's own test of one column, by the same way. #}
{% test unique(model, column_name) %}

with suspects as (

    select {{ row_hash([column_name]) }} as row_hash
    from {{ model }}
    where {{ column_name }} is not null
    group by row_hash
    having count(*) > 1

)

select
    {{ column_name }},
    count(*) as copies,
from {{ model }}
where {{ row_hash([column_name]) }} in (select row_hash from suspects)
group by {{ column_name }}
having count(*) > 1

{% endtest %}
