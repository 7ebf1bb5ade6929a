{# A table that a run makes anew gets its rows in place of the old ones, in one transaction, as long as
   its columns are the same. dbt's own materialization makes another table each time and renames two:
   each of these changes the lake's schema, which every statement after it then reads again, and what
   has been a table stays in the catalog as long as a snapshot of it does. Constraints, grants, indexes
   and partitions, which no table here has, are not made. #}
{% materialization table, adapter='duckdb' %}
    {% set table = this.incorporate(type='table') %}
    {% set existing = load_cached_relation(this) %}
    {% set made = duckdb__dispatch_temporary_relation(table).relation %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% do run_query(create_table_as(True, made, sql)) %}
    {% if existing and not existing.is_table %}
        {% do adapter.ensure_transaction() %}
        {{ adapter.drop_relation(existing) }}
    {% endif %}
    {% call statement('main') %}
        {{ put_in_place(table, existing, made) }}
    {% endcall %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {% do run_query('drop table ' ~ made) %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [table]}) }}
{% endmaterialization %}

{# Statements that leave `made`'s rows in `table`, which is now `existing` (none: not there yet). #}
{% macro put_in_place(table, existing, made) %}
{% if existing and existing.is_table and columns_of(existing) == columns_of(made) %}
delete from {{ table }};
insert into {{ table }} select * from {{ made }}
{% else %}
create or replace table {{ table }} as select * from {{ made }}
{% endif %}
{% endmacro %}

{# Names and types, in order. #}
{% macro columns_of(relation) %}
{% set columns = [] %}
{% for row in run_query('describe ' ~ relation).rows %}{% do columns.append((row[0], row[1])) %}{% endfor %}
{{ return(columns) }}
{% endmacro %}
