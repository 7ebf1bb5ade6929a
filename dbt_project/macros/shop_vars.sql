{% macro shop_vars() %}
    {{ return([
        'shop_timezone', 'max_behaviors', 'direct_list_length', 'think_list_length', 'train_days',
        'feature_days', 'x2q_days', 'x2q_lambda', 'x2q_length', 'ctr_prior_impressions'
    ]) }}
{% endmacro %}

{# Stop before anything is built where a variable cannot be meant. #}
{% macro check_vars() %}
{% if execute %}
    {% for name in shop_vars() if name not in ('shop_timezone', 'x2q_lambda') %}
        {% set value = var(name) %}
        {% if not (value is integer) or value is boolean or value < 1 %}
            {{ exceptions.raise_compiler_error(
                "variable '" ~ name ~ "' must be a whole number of at least 1, got " ~ value) }}
        {% endif %}
    {% endfor %}
    {% set weight = var('x2q_lambda') %}
    {% if not (weight is number) or weight is boolean or not 0 <= weight <= 1 %}
        {{ exceptions.raise_compiler_error(
            "variable 'x2q_lambda' must be a number from 0 to 1, got " ~ weight) }}
    {% endif %}
    {% set zone = var('shop_timezone') %}
    {% if not is_time_zone(zone) %}
        {{ exceptions.raise_compiler_error(
            "variable 'shop_timezone' must be an IANA time zone such as Asia/Shanghai, got " ~ zone) }}
    {% endif %}
    {% do warn_of_changed_vars() %}
{% endif %}
{% endmacro %}

{# dbt does not remember `--vars`: a build without those of the last one would move days, contexts
   or the split without a word. It may be meant, so it is said and not stopped. #}
{% macro warn_of_changed_vars() %}
{% set shop = adapter.get_relation(target.database, 'meta', 'shop') %}
{% if shop %}
    {# Not by get_columns_in_relation: it begins a transaction, which takes the run's row in
       meta.runs with it when dbt rolls it back after the last hook. #}
    {% set built = run_query('select * from ' ~ shop) %}
    {# A shop built by an earlier version may lack one. #}
    {% set names = built.column_names | select('in', shop_vars()) | list %}
    {% set changed = [] %}
    {% for row in built.rows %}
        {% for name in names if row[name] | string != var(name) | string %}
            {% do changed.append(name ~ ' was ' ~ row[name] ~ ' and is now ' ~ var(name)) %}
        {% endfor %}
    {% endfor %}
    {% if changed %}
        {% do exceptions.warn("THE SHOP WAS BUILT WITH OTHER VARIABLES: " ~ changed | join('; ') ~
            ". If that is not meant, put them into dbt_project.yml or give the same --vars again,"
            ~ " and build anew.") %}
    {% endif %}
{% endif %}
{% endmacro %}
