{# Each combination of `columns` comes once, and none of them is null. #}
{% test unique_grain(model, columns) %}

select
    {{ columns | join(', ') }},
    count(*) as copies,
from {{ model }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {% for column in columns -%}
    or {{ column }} is null
    {% endfor %}

{% endtest %}
