{# A struct value: `fields` maps names to expressions. #}
{% macro make_struct(fields) %}
    {{ return(adapter.dispatch('make_struct')(fields)) }}
{% endmacro %}

{% macro duckdb__make_struct(fields) -%}
    struct_pack({% for name, value in fields.items() -%}
        "{{ name }}" := {{ value }}{{ ", " if not loop.last }}
    {%- endfor %})
{%- endmacro %}

{# Aggregate: all values as a list, in ascending order of a key that has no ties. #}
{% macro list_in_order(value, order_key) %}
    {{ return(adapter.dispatch('list_in_order')(value, order_key)) }}
{% endmacro %}

{% macro duckdb__list_in_order(value, order_key) -%}
    list_transform(
        list_sort(list(struct_pack(k := {{ order_key }}, v := {{ value }}))), lambda x: x.v
    )
{%- endmacro %}

{# Aggregate: the named expressions of all rows as a list of structs, in no order. #}
{% macro list_of_rows(fields) %}
    {{ return(adapter.dispatch('list_of_rows')(fields)) }}
{% endmacro %}

{% macro duckdb__list_of_rows(fields) -%}
    list({{ make_struct(fields) }})
{%- endmacro %}

{# Of a list of structs the whole ones, or of each the field `field`, in ascending order of the field
   `key`, which has neither ties nor nulls. #}
{% macro list_ordered(list, key, field=none) %}
    {{ return(adapter.dispatch('list_ordered')(list, key, field)) }}
{% endmacro %}

{# Only the key is sorted; to sort structs would compare, and first encode, all that they hold. #}
{% macro duckdb__list_ordered(list, key, field) -%}
    list_select(
        {{ list_field(list, field) if field else list }},
        list_grade_up({{ list_field(list, key) }})
    )
{%- endmacro %}

{# Aggregate: the distinct values that are not null, as a list in order of their code points; an
   empty list where there are none. #}
{% macro list_distinct_sorted(value) %}
    {{ return(adapter.dispatch('list_distinct_sorted')(value)) }}
{% endmacro %}

{% macro duckdb__list_distinct_sorted(value) -%}
    coalesce(list_sort(list(distinct {{ value }}) filter ({{ value }} is not null)), [])
{%- endmacro %}

{# The named field of each struct of a list column. #}
{% macro list_field(list, field) %}
    {{ return(adapter.dispatch('list_field')(list, field)) }}
{% endmacro %}

{% macro duckdb__list_field(list, field) -%}
    list_transform({{ list }}, lambda x: x.{{ field }})
{%- endmacro %}

{# Aggregate: how many different whole numbers there are, most of which are small; nulls count for
   nothing. #}
{% macro count_different(value) %}
    {{ return(adapter.dispatch('count_different')(value)) }}
{% endmacro %}

{# Small ones by bits, an eighth of what a set of numbers for each group costs. #}
{% macro duckdb__count_different(value) -%}
    {%- set is_small = value ~ ' between 1 and 62' -%}
    coalesce(bit_count(bit_or(
        case when {{ is_small }} then cast(1 as bigint) << cast({{ value }} - 1 as integer) end
    )), 0)
    + count(distinct {{ value }}) filter (not {{ is_small }})
{%- endmacro %}

{# Aggregate of few rows: how many different hashes they have. #}
{% macro count_different_hashes(columns) %}
    {{ return(adapter.dispatch('count_different_hashes')(columns)) }}
{% endmacro %}

{% macro duckdb__count_different_hashes(columns) -%}
    list_unique(list({{ row_hash(columns) }}))
{%- endmacro %}

{# Aggregate: the n-th largest value, the smallest where there are fewer. #}
{% macro nth_largest(value, n) %}
    {{ return(adapter.dispatch('nth_largest')(value, n)) }}
{% endmacro %}

{% macro duckdb__nth_largest(value, n) -%}
    list_min(max({{ value }}, {{ n }}))
{%- endmacro %}

{# Aggregate: the values that cut a column into `parts` equally large parts, as a list. #}
{% macro quantiles(value, parts) %}
    {{ return(adapter.dispatch('quantiles')(value, parts)) }}
{% endmacro %}

{% macro duckdb__quantiles(value, parts) -%}
    quantile_cont(
        {{ value }}, [{% for i in range(1, parts) %}{{ i / parts }}{{ ", " if not loop.last }}{% endfor %}]
    )
{%- endmacro %}

{# How many entries of a list are below a value. #}
{% macro count_below(list, value) %}
    {{ return(adapter.dispatch('count_below')(list, value)) }}
{% endmacro %}

{% macro duckdb__count_below(list, value) -%}
    len(list_filter({{ list }}, lambda x: x < {{ value }}))
{%- endmacro %}
