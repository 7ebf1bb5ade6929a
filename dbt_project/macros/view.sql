{# A view is its query, which DuckLake binds anew whenever it is read: where the query is the one that
   the view was made of, which its comment names, there is nothing to do. dbt's own materialization
   makes and drops every view in every run, with two commits each. #}
{% materialization view, adapter='duckdb' %}
    {% set view = this.incorporate(type='view') %}
    {% set existing = load_cached_relation(this) %}
    {% set comment = 'query ' ~ local_md5(sql) %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if config.get('contract').enforced %}{% do get_assert_columns_equivalent(sql) %}{% endif %}
    {% if existing and existing.is_view and comment_of_view(view) == comment %}
        {% do store_raw_result('main', message='unchanged', code='unchanged', rows_affected='0') %}
    {% else %}
        {% if existing and not existing.is_view %}
            {# Not by itself: readers would find nothing in between. #}
            {% do adapter.ensure_transaction() %}
            {{ adapter.drop_relation(existing) }}
        {% endif %}
        {% call statement('main') %}
            create or replace view {{ view }} as (
                {{ sql }}
            );
            comment on view {{ view }} is {{ sql_text(comment) }}
        {% endcall %}
    {% endif %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [view]}) }}
{% endmaterialization %}

{% macro comment_of_view(view) %}
{% set found = run_query(
    "select comment from duckdb_views() where database_name = " ~ sql_text(view.database)
    ~ " and schema_name = " ~ sql_text(view.schema)
    ~ " and view_name = " ~ sql_text(view.identifier)) %}
{{ return(found.columns[0].values() | first) }}
{% endmacro %}
