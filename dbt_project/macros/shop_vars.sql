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

{# Stop before anything is built where a variable cannot be meant; all such are named at once. #}
{% macro check_vars() %}
{% if execute %}
    {% set wrong = [] %}
    {% for name in shop_vars() if name not in ('shop_timezone', 'x2q_lambda') %}
        {% set value = var(name) %}
        {% if not (value is integer) or value is boolean or value < 1 %}
            {% do wrong.append("'" ~ name ~ "' must be a whole number of at least 1, got " ~ value) %}
        {% endif %}
    {% endfor %}
    {% set weight = var('x2q_lambda') %}
    {% if not (weight is number) or weight is boolean or not 0 <= weight <= 1 %}
        {% do wrong.append("'x2q_lambda' must be a number from 0 to 1, got " ~ weight) %}
    {% endif %}
    {% set zone = var('shop_timezone') %}
    {% if not is_time_zone(zone) %}
        {% do wrong.append(
            "'shop_timezone' must be an IANA time zone such as Asia/Shanghai, got " ~ zone) %}
    {% endif %}
    {% set days = var('rebuild_days') %}
    {% if days is string or days is mapping or days is not iterable %}
        {% do wrong.append("'rebuild_days' must be a list of days such as [2026-02-03], got " ~ days) %}
    {% else %}
        {% for day in days if not is_date(day | string) %}
            {% do wrong.append("'rebuild_days' holds " ~ day ~ ", which is no day such as 2026-02-03") %}
        {% endfor %}
    {% endif %}
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
{% set last = last_complete_run() %}
{% set chosen = [] %}
{% for name in ['select', 'exclude', 'selector'] if invocation_args_dict.get(name) %}{% do chosen.append(name) %}{% endfor %}
{% if last and (chosen or not flags.FULL_REFRESH) %}
    {% set changed = [] %}
    {# A shop built by an earlier version may lack one. #}
    {% for name in built_in_vars() if name in last['vars'] and last['vars'][name] | string != var(name) | string %}
        {% do changed.append(name ~ ' was ' ~ last['vars'][name] ~ ' and is now ' ~ var(name)) %}
    {% endfor %}
    {% if changed %}
        {{ exceptions.raise_compiler_error(
            "the shop was built with other variables: " ~ changed | join('; ')
            ~ ". Give the same --vars again or put them into dbt_project.yml; to build every day anew"
            ~ " with these, give --full-refresh and build everything") }}
    {% endif %}
{% endif %}
{% endmacro %}
