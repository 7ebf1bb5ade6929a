{# dbt says of a test that warns how many rows it found; whoever watches wants to know which. What
   counts comes before shares of it. #}
{% macro tell_of_the_newest_day(results) %}
{% for result in results
    if result.node.name == 'newest_day_is_like_the_week_before' and result.status | string == 'warn' %}
    {% set found = run_query(
        "select stat_date, metric, part, value, baseline, count(*) over () as total from ("
        ~ result.node.compiled_code ~ ") order by value is null, metric = 'null_rate', metric, part limit 10").rows %}
    {% for day, metric, part, value, baseline, total in found %}
        {% do log(
            day ~ ": " ~ metric ~ " " ~ part ~ " " ~ ("of nothing" if value is none else value | float | round(4))
            ~ (", by chance " if metric == 'psi' else ", the week before ") ~ baseline | float | round(4), info=true) %}
    {% endfor %}
    {% do log(
        "(" ~ found | length ~ " of " ~ found[0][5] ~ " grades `fail` of the newest day, in"
        ~ " monitoring.day_metrics and monitoring.day_drift)", info=true) %}
{% endfor %}
{% endmacro %}
