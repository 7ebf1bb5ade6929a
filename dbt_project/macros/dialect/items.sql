{# A map column as a list of texts "key: value", in order of the keys; an empty list for null. #}
{% macro map_texts(map) %}
    {{ return(adapter.dispatch('map_texts')(map)) }}
{% endmacro %}

{% macro duckdb__map_texts(map) -%}
    coalesce(
        list_sort(list_transform(map_entries({{ map }}), lambda x: x.key || ': ' || x.value)), []
    )
{%- endmacro %}

{# The texts of a list, one after the other. #}
{% macro list_text(list, separator) %}
    {{ return(adapter.dispatch('list_text')(list, separator)) }}
{% endmacro %}

{% macro duckdb__list_text(list, separator) -%}
    array_to_string({{ list }}, '{{ separator }}')
{%- endmacro %}
