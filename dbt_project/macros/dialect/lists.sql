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

{# Aggregate: the named expressions of all rows as a list of structs, in ascending order, the first
   name's values first; nulls last. #}
{% macro sorted_list(fields) %}
    {{ return(adapter.dispatch('sorted_list')(fields)) }}
{% endmacro %}

{% macro duckdb__sorted_list(fields) -%}
    list_sort(list({{ make_struct(fields) }}))
{%- endmacro %}

{# A list of structs in another order: by the values of `keys`, which the new structs begin with;
   `others` follow. Expressions see an entry as `x` and its old place, from 1, as `i`. #}
{% macro list_sorted_by(list, keys, others) %}
    {{ return(adapter.dispatch('list_sorted_by')(list, keys, others)) }}
{% endmacro %}

{% macro duckdb__list_sorted_by(list, keys, others) -%}
    {%- set fields = dict(keys, **others) -%}
    list_sort(list_transform({{ list }}, lambda x, i: {{ make_struct(fields) }}))
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

{# Aggregate: how many different whole numbers from 1 to `most` there are. Others and nulls count for
   nothing. #}
{% macro count_different(value, most) %}
    {{ return(adapter.dispatch('count_different')(value, most)) }}
{% endmacro %}

{# By bits where these suffice, which is next to nothing beside a set of numbers for each group. #}
{% macro duckdb__count_different(value, most) -%}
    {%- set is_one = value ~ ' between 1 and ' ~ most -%}
    {% if most | int <= 62 -%}
    coalesce(bit_count(bit_or(
        case when {{ is_one }} then cast(1 as bigint) << cast({{ value }} - 1 as integer) end
    )), 0)
    {%- else -%}
    count(distinct case when {{ is_one }} then {{ value }} end)
    {%- endif %}
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
