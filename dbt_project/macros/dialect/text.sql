{# Text with every run of white space as one space, and none at its ends. #}
{% macro one_spaced(text) %}
    {{ return(adapter.dispatch('one_spaced')(text)) }}
{% endmacro %}

{% macro duckdb__one_spaced(text) -%}
    trim(regexp_replace({{ text }}, '\s+', ' ', 'g'))
{%- endmacro %}

{# A number of 64 bits that rows with the same values share. #}
{% macro row_hash(columns) %}
    {{ return(adapter.dispatch('row_hash')(columns)) }}
{% endmacro %}

{% macro duckdb__row_hash(columns) -%}
    hash({{ columns | join(', ') }})
{%- endmacro %}
