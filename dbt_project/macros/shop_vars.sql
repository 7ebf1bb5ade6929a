{% macro shop_vars() %}
    {{ return(['shop_timezone', 'max_behaviors', 'direct_list_length', 'train_days', 'feature_days']) }}
{% endmacro %}

{# Stop before anything is built where a variable cannot be meant. #}
{% macro check_vars() %}
{% if execute %}
    {% for name in shop_vars() if name != 'shop_timezone' %}
        {% set value = var(name) %}
        {% if not (value is integer) or value is boolean or value < 1 %}
            {{ exceptions.raise_compiler_error(
                "variable '" ~ name ~ "' must be a whole number of at least 1, got " ~ value) }}
        {% endif %}
    {% endfor %}
    {% set zone = var('shop_timezone') %}
    {% if not is_time_zone(zone) %}
        {{ exceptions.raise_compiler_error(
            "variable 'shop_timezone' must be an IANA time zone such as Asia/Shanghai, got " ~ zone) }}
    {% endif %}
{% endif %}
{% endmacro %}
