{# dbt says of a test how many rows it found; whoever watches wants to know which. #}
{% macro tell_of_tests(results) %}
{% for result in results
    if result.node.resource_type == 'test' and result.status | string in ('warn', 'fail') %}
    {% set found = run_query("select * from (\n" ~ result.node.compiled_code ~ "\n) limit 10") %}
    {% do log(result.node.name ~ (" found:" if result.failures == found.rows | length
        else " found these and others, " ~ result.failures ~ " in all:"), info=true) %}
    {% for row in found.rows %}
        {% set said = [] %}
        {% for name, value in zip(found.column_names, row) %}
            {% set is_fraction = value is number and value is not boolean and '.' in value | string %}
            {% do said.append(name ~ " " ~ (value | float | round(4) if is_fraction else value)) %}
        {% endfor %}
        {% do log("  " ~ said | join(", "), info=true) %}
    {% endfor %}
{% endfor %}
{% endmacro %}
