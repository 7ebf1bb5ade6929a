{# Values lie in [0, 1]; nulls pass. #}
{% test fraction(model, column_name) %}

select {{ column_name }} from {{ model }}
where not ({{ column_name }} between 0 and 1)

{% endtest %}
