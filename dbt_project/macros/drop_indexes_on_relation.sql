{# In place of dbt-duckdb's: a lake's tables have no indexes, and to ask for them took one of the 27
   seconds of a small shop's build. #}
{% macro drop_indexes_on_relation(relation) %}{% endmacro %}
