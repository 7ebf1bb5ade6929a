{# Text with every run of white space as one space, and none at its ends. #}
{% macro one_spaced(text) %}
    {{ return(adapter.dispatch('one_spaced')(text)) }}
{% endmacro %}

{% macro duckdb__one_spaced(text) -%}
    trim(regexp_replace({{ text }}, '\s+', ' ', 'g'))
{%- endmacro %}
