{# The newest version of a model has the plain name, any other the name with `_v` and its number
   (docs/label_versions.md). #}
{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
    {%- if custom_alias_name -%}
        {{ custom_alias_name | trim }}
    {%- elif node.version and node.version | string != node.latest_version | string -%}
        {{ node.name }}_v{{ node.version }}
    {%- else -%}
        {{ node.name }}
    {%- endif -%}
{%- endmacro %}

{# The newest version of each model that has any and that this run builds, by name, for meta.runs. #}
{% macro newest_versions() %}
    {% set newest = {} %}
    {% if execute %}
        {% for node in versioned_models() %}
            {% do newest.update({node.name: node.latest_version | string}) %}
        {% endfor %}
    {% endif %}
    {{ return(newest) }}
{% endmacro %}

{# Where a model's newest version is another one than in the last run that built it, its tables change
   names: an incremental model would otherwise put the new version's rows into the old one's table.
   In a run that builds it: others leave what is read under that name. #}
{% macro rename_versions() %}
{% if execute and flags.WHICH in ('run', 'build') %}
    {% for node in versioned_models() %}
        {% set version = "json_extract_string(parameters, '$.versions." ~ node.name ~ "')" %}
        {% set last = run_query(
            "select " ~ version ~ " from " ~ source('meta', 'runs') ~ " where " ~ version
            ~ " is not null and job in ('dbt run', 'dbt build')"
            ~ " order by started_at desc, run_id desc limit 1"
        ).columns[0].values() %}
        {# Runs that recorded no version are older than the second version of anything. #}
        {% set had = last[0] if last else '1' %}
        {% set newest = node.latest_version | string %}
        {% if had != newest and node.version | string == newest %}
            {% do move_table(node, node.name, node.name ~ '_v' ~ had) %}
            {% do move_table(node, node.name ~ '_v' ~ newest, node.name) %}
        {% endif %}
    {% endfor %}
{% endif %}
{% endmacro %}

{% macro versioned_models() %}
{% set found = [] %}
{% for node in graph.nodes.values() if node.resource_type == 'model' and node.version
    and node.unique_id in selected_resources %}{% do found.append(node) %}{% endfor %}
{{ return(found) }}
{% endmacro %}

{# Rename a table of a node's schema, where it is there and the other name is free. #}
{% macro move_table(node, from_name, to_name) %}
    {% set from_table = adapter.get_relation(node.database, node.schema, from_name) %}
    {% if from_table and not adapter.get_relation(node.database, node.schema, to_name) %}
        {# Not by rename_relation: it begins a transaction, which dbt rolls back after the hooks. #}
        {% do run_query('alter table ' ~ from_table ~ ' rename to ' ~ to_name) %}
        {% do adapter.cache_renamed(
            from_table, from_table.incorporate(path={'identifier': to_name})) %}
    {% endif %}
{% endmacro %}
