{# One row in meta.runs per dbt invocation; `aigq/jobs.py` does the same for Python jobs. #}

{% macro run_id() -%}
    {{ run_started_at.strftime('%Y%m%dT%H%M%S.%f') }}-dbt-{{ flags.WHICH }}-{{ invocation_id[:6] }}
{%- endmacro %}

{% macro sql_text(value) -%}
    '{{ (value | string).replace("'", "''") }}'
{%- endmacro %}

{# The options by which this command is of a part of the project. #}
{% macro parts_chosen() %}
{% set chosen = [] %}
{% for name in ['select', 'exclude', 'selector'] if invocation_args_dict.get(name) %}{% do chosen.append(name) %}{% endfor %}
{{ return(chosen) }}
{% endmacro %}

{% macro start_run() %}
{% set given = {} %}
{% for name in parts_chosen() + ['full_refresh'] if invocation_args_dict.get(name) %}
    {% do given.update({name: invocation_args_dict[name]}) %}
{% endfor %}
{% set settings = {} %}
{% for name in shop_vars() %}{% do settings.update({name: var(name)}) %}{% endfor %}
{% do settings.update({'rebuild_days': rebuild_days()}) %}
{% set parameters = {
    'target': target.name, 'vars': settings, 'versions': newest_versions(), 'arguments': given
} %}
{# Whoever has the turn to write is the only run of dbt: others without an end were killed. (Of two
   machines at one Postgres catalog the other may be at work; its end then says how it ended.) #}
update {{ source('meta', 'runs') }} set status = 'killed' where status = 'running' and job like 'dbt %';
insert into {{ source('meta', 'runs') }}
    (run_id, job, started_at, status, snapshot_read, code_version, parameters)
select
    {{ sql_text(run_id()) }},
    {{ sql_text('dbt ' ~ flags.WHICH) }},
    timestamptz '{{ run_started_at.isoformat() }}',
    'running',
    {{ current_snapshot() }},
    aigq_code_version(),
    {{ sql_text(tojson(parameters)) }}
{% endmacro %}

{% macro end_run(results) %}
{% set metrics = {'models': 0, 'tests': 0, 'errors': 0, 'warnings': 0, 'skipped': 0} %}
{% for result in results %}
    {% set kind = 'models' if result.node.resource_type == 'model' else 'tests' %}
    {% set outcome = {'error': 'errors', 'fail': 'errors', 'runtime error': 'errors',
        'warn': 'warnings', 'skipped': 'skipped'}.get(result.status | string) %}
    {% do metrics.update({kind: metrics[kind] + 1}) %}
    {% if outcome %}{% do metrics.update({outcome: metrics[outcome] + 1}) %}{% endif %}
{% endfor %}
{% do metrics.update({'is_complete': is_complete(results)}) %}
update {{ source('meta', 'runs') }}
set
    finished_at = now(),
    status = '{{ "failed" if metrics["errors"] else "succeeded" }}',
    snapshot_written = {{ current_snapshot() }},
    metrics = {{ sql_text(tojson(metrics)) }}
where run_id = {{ sql_text(run_id()) }}
{% endmacro %}
