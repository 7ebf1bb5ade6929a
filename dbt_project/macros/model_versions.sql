{# Versions of a model (docs/label_versions.md): each is a table of its own, and the plain name is a view
   of the newest that was built. #}

{# The newest version of each model that has any, by name, where this run builds it; for meta.runs. #}
{% macro newest_versions() %}
    {% set newest = {} %}
    {% if execute %}
        {% for node in graph.nodes.values() if node.resource_type == 'model' and node.version
            and node.version | string == node.latest_version | string
            and node.unique_id in selected_resources %}
            {% do newest.update({node.name: node.version | string}) %}
        {% endfor %}
    {% endif %}
    {{ return(newest) }}
{% endmacro %}

{# Post-hook of such a model, in the transaction that makes its rows: with them the plain name moves,
   and whoever reads it finds the version before until then. #}
{% macro name_newest_version() %}
{% if execute and model.version | string == model.latest_version | string %}
    {% set plain = this.incorporate(path={'identifier': model.name}) %}
    {% set comment = 'version ' ~ model.version %}
    {% if comment_of_view(plain) != comment %}
        {# A lake of the time when the newest version's table had the plain name. #}
        {% set table = load_cached_relation(plain) %}
        {% if table and table.is_table %}drop table {{ plain }};{% endif %}
        create or replace view {{ plain }} as select * from {{ this }};
        comment on view {{ plain }} is {{ sql_text(comment) }}
    {% endif %}
{% endif %}
{% endmacro %}
