{# 1 for what is of today, half for what is `days` old, and so on. Decimals: they add up to the same in
   any order, and ties must stay ties. #}
{% macro half_life(age, days) -%}
    cast(pow(0.5, {{ age }} / {{ days }}.0) as decimal(18, 12))
{%- endmacro %}
