{# The name of a table that lives as long as the run, and costs next to nothing to read. #}
{% macro run_table(name) %}
    {{ return(adapter.dispatch('run_table')(name)) }}
{% endmacro %}

{% macro duckdb__run_table(name) -%}
    memory.main.{{ name }}
{%- endmacro %}

{# The newest snapshot of the lake. #}
{% macro current_snapshot() %}
    {{ return(adapter.dispatch('current_snapshot')()) }}
{% endmacro %}

{% macro duckdb__current_snapshot() -%}
    (select max(snapshot_id) from ducklake_snapshots('{{ target.database }}'))
{%- endmacro %}

{# A time below a second that is longer in each later build. What jobs changed since is new although
   no event is, and online stores keep the older of two rows of one moment. #}
{% macro build_offset() %}
    {{ return(adapter.dispatch('build_offset')()) }}
{% endmacro %}

{% macro duckdb__build_offset() -%}
    {{ current_snapshot() }} * interval 1 microsecond
{%- endmacro %}

{# Query: the ids of the snapshots that can still be read. #}
{% macro known_snapshots() %}
    {{ return(adapter.dispatch('known_snapshots')()) }}
{% endmacro %}

{% macro duckdb__known_snapshots() -%}
    select snapshot_id from ducklake_snapshots('{{ target.database }}')
{%- endmacro %}

{# The rows that a source table has got since a snapshot, and still has. #}
{% macro rows_inserted_since(schema, table, snapshot) %}
    {{ return(adapter.dispatch('rows_inserted_since')(schema, table, snapshot)) }}
{% endmacro %}

{% macro duckdb__rows_inserted_since(schema, table, snapshot) -%}
    (
        select * from {{ duckdb__changes('insertions', schema, table, snapshot) }}
        where
            snapshot_id > {{ snapshot }}
            and rowid not in ({{ duckdb__rows_deleted_since(schema, table, snapshot) }})
    )
{%- endmacro %}

{# The rows of a source table as it was at any of these `states` (as it is, where one is none) that it
   has lost since a snapshot or had changed in place; none where it has lost nothing. #}
{% macro rows_lost_since(schema, table, snapshot, states) %}
    {{ return(adapter.dispatch('rows_lost_since')(schema, table, snapshot, states)) }}
{% endmacro %}

{% macro duckdb__rows_lost_since(schema, table, snapshot, states) %}
    {% set deleted, relation = duckdb__rows_deleted_since(schema, table, snapshot), source(schema, table) %}
    {# There seldom are any, and who looks for them looks at all that the table has. #}
    {% if not run_query(deleted ~ " limit 1").rows %}{{ return(none) }}{% endif %}
    {% set lost = [] %}
    {% for state in states %}
        {% set had = relation if state is none else as_it_was(relation, state) %}
        {# Among the deleted are such as the snapshot itself deleted or changed; these are as they were
           then, so they are not lost. #}
        {% set has = as_it_was(relation, snapshot) if state is none else relation %}
        {# The earlier of the two may have fewer columns. #}
        {% set earlier = has if state is none else had %}
        {% set columns = run_query("select * from " ~ earlier ~ " limit 0").column_names | join(', ') %}
        {% set rows = [] %}
        {% for of in (had, has) %}
            {% do rows.append(
                "select rowid as row_id, " ~ columns ~ " from " ~ of ~ " where rowid in (" ~ deleted ~ ")") %}
        {% endfor %}
        {% do lost.append("(" ~ rows | join(" except ") ~ ")") %}
    {% endfor %}
    {{ return("(" ~ lost | join(" union all ") ~ ")") }}
{% endmacro %}

{# Those of the snapshot itself are among them: a condition on their snapshot_id would be held against
   that of the row's insertion (DuckLake 1.5.5), and leave out deletions of earlier rows. #}
{% macro duckdb__rows_deleted_since(schema, table, snapshot) -%}
    select rowid from {{ duckdb__changes('deletions', schema, table, snapshot) }}
{%- endmacro %}

{% macro duckdb__changes(kind, schema, table, snapshot) -%}
    {%- set newest = run_query('select ' ~ current_snapshot()).columns[0].values()[0] -%}
    ducklake_table_{{ kind }}(
        '{{ target.database }}', '{{ schema }}', '{{ table }}', {{ snapshot }}, {{ newest }}
    )
{%- endmacro %}

{# A source table as it was at a snapshot. #}
{% macro as_it_was(relation, snapshot) %}
    {{ return(adapter.dispatch('as_it_was')(relation, snapshot)) }}
{% endmacro %}

{% macro duckdb__as_it_was(relation, snapshot) -%}
    {{ relation }} at (version => {{ snapshot }})
{%- endmacro %}

{# The path of the local file that holds all rows of the table and no others; none where there is no
   such file. #}
{% macro file_of_all_rows(relation) %}
    {{ return(adapter.dispatch('file_of_all_rows')(relation)) }}
{% endmacro %}

{% macro duckdb__file_of_all_rows(relation) %}
{% set files = run_query(
    "select data_file, delete_file from ducklake_list_files(" ~ sql_text(relation.database) ~ ", "
    ~ sql_text(relation.identifier) ~ ", schema => " ~ sql_text(relation.schema) ~ ")").rows %}
{% if files | length != 1 or files[0][1] or '://' in files[0][0] %}{{ return(none) }}{% endif %}
{# A few rows, and deletions of a few, may lie in the catalog, unless the lake is told otherwise; and a
   file that was merged of several has a column besides, by which states are told. #}
{% set path = sql_text(files[0][0]) %}
{% set counts = run_query(
    "select count(*), count(*) filter (where filename = " ~ path ~ "),"
    ~ " (select num_rows from parquet_file_metadata(" ~ path ~ ")),"
    ~ " (select count(*) from parquet_schema(" ~ path ~ ") where name like '_ducklake%') from "
    ~ relation).rows[0] %}
{{ return(files[0][0] if counts[0] == counts[1] == counts[2] and not counts[3] else none) }}
{% endmacro %}
