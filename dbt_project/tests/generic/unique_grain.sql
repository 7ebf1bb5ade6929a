{# Each combination of `columns` comes once, and none of them is null. #}
{% test unique_grain(model, columns) %}{{ repeated_rows(model, columns, or_null=true) }}{% endtest %}

{# dbt's own test of one column, where nulls pass, by the same way. #}
{% test unique(model, column_name) %}{{ repeated_rows(model, [column_name], or_null=false) }}{% endtest %}
