{# What every row of past days was built with: another value needs all of them anew. #}
{% macro built_in_vars() %}
    {{ return([
        'shop_timezone', 'max_behaviors', 'direct_list_length', 'think_list_length', 'train_days'
    ]) }}
{% endmacro %}

{% macro shop_vars() %}
    {{ return(built_in_vars() + [
        'feature_days', 'x2q_days', 'x2q_lambda', 'x2q_length', 'ctr_prior_impressions'
    ]) }}
{% endmacro %}

{# `rebuild_days` as texts; one day needs no brackets. YAML reads a day as a date. #}
{% macro rebuild_days() %}
{% set given = var('rebuild_days') %}
{{ return((given if given is iterable and given is not string else [given]) | map('string') | list) }}
{% endmacro %}

{# Names of the variables in dbt_project.yml. #}
{% macro project_vars() %}
{{ return(run_query("select unnest(aigq_project_vars())").columns[0].values() | list) }}
{% endmacro %}

{# Stop before anything is built where a variable cannot be meant; all such are named at once. #}
{% macro check_vars() %}
{% if execute %}
    {% set wrong = [] %}
    {# A name that nothing reads would be passed over. #}
    {% set known = shop_vars() + ['rebuild_days'] %}
    {% set given = (invocation_args_dict.get('vars') or {}) | list + project_vars() %}
    {% for name in given if name not in known %}
        {% do wrong.append("there is no variable '" ~ name ~ "', there are " ~ known | join(', ')) %}
    {% endfor %}
    {% for name in shop_vars() if name not in ('shop_timezone', 'x2q_lambda') %}
        {% set value = var(name) %}
        {% if not (value is integer) or value is boolean or value < 1 %}
            {% do wrong.append("'" ~ name ~ "' must be a whole number of at least 1, got " ~ tojson(value)) %}
        {% endif %}
    {% endfor %}
    {% set weight = var('x2q_lambda') %}
    {% if not (weight is number) or weight is boolean or not 0 <= weight <= 1 %}
        {% do wrong.append("'x2q_lambda' must be a number from 0 to 1, got " ~ tojson(weight)) %}
    {% endif %}
    {% set zone = var('shop_timezone') %}
    {% if not is_time_zone(zone) %}
        {% do wrong.append(
            "'shop_timezone' must be an IANA time zone such as Asia/Shanghai, got " ~ zone) %}
    {% endif %}
    {% for day in rebuild_days() if not is_date(day) %}
        {% do wrong.append("'rebuild_days' holds " ~ day ~ ", which is no day such as 2026-02-03") %}
    {% endfor %}
    {% if wrong %}
        {{ exceptions.raise_compiler_error(
            "variables that cannot be meant: " ~ wrong | join('; ')) }}
    {% endif %}
    {% if flags.EMPTY %}
        {{ exceptions.raise_compiler_error("--empty would leave tables empty that later builds go on from") }}
    {% endif %}
    {% do refuse_changed_vars() %}
{% endif %}
{% endmacro %}

{# dbt does not remember `--vars`: days built without those of the last build would not fit the
   others. #}
{% macro refuse_changed_vars() %}
{% set last = last_complete_run() if flags.WHICH != 'generate' %}
{% if last and (parts_chosen() or not flags.FULL_REFRESH) %}
    {% set changed, as_built = [], [] %}
    {# A shop built by an earlier version may lack one. #}
    {% for name in built_in_vars() if name in last['vars'] and last['vars'][name] | string != var(name) | string %}
        {% do changed.append(name ~ ' was ' ~ last['vars'][name] ~ ' and is now ' ~ var(name)) %}
        {% do as_built.append(name ~ ': ' ~ last['vars'][name]) %}
    {% endfor %}
    {% if changed %}
        {{ exceptions.raise_compiler_error(
            "the shop was built with other variables: " ~ changed | join('; ')
            ~ ". Give --vars '{" ~ as_built | join(', ') ~ "}', or put these into dbt_project.yml; to build"
            ~ " every day anew with others, give --full-refresh and build everything") }}
    {% endif %}
{% endif %}
{% endmacro %}
