{# The shop's calendar day of a moment. #}
{% macro shop_date(moment) %}
    {{ return(adapter.dispatch('shop_date')(moment)) }}
{% endmacro %}

{% macro duckdb__shop_date(moment) -%}
    cast((({{ moment }}) at time zone {{ sql_text(var('shop_timezone')) }}) as date)
{%- endmacro %}

{# When the minute of a moment began. #}
{% macro minute_of(moment) %}
    {{ return(adapter.dispatch('minute_of')(moment)) }}
{% endmacro %}

{% macro duckdb__minute_of(moment) -%}
    time_bucket(interval 1 minute, {{ moment }})
{%- endmacro %}

{# The hour on the shop's clock, 0 to 23. #}
{% macro shop_hour(moment) %}
    {{ return(adapter.dispatch('shop_hour')(moment)) }}
{% endmacro %}

{% macro duckdb__shop_hour(moment) -%}
    hour(({{ moment }}) at time zone {{ sql_text(var('shop_timezone')) }})
{%- endmacro %}

{# The first moment of a shop day. Where clocks are set back over midnight, 00:00 comes twice and
   DuckDB takes the second: the hour before it then belongs to the day too. #}
{% macro day_start(date) %}
    {{ return(adapter.dispatch('day_start')(date)) }}
{% endmacro %}

{% macro duckdb__day_start(date) -%}
    {%- set midnight -%}
        (cast({{ date }} as timestamp) at time zone {{ sql_text(var('shop_timezone')) }})
    {%- endset -%}
    case
        when {{ shop_date(midnight ~ " - interval 1 hour") }} = {{ date }}
            then {{ midnight }} - interval 1 hour
        else {{ midnight }}
    end
{%- endmacro %}

{# A row for each day from one to another, both included. #}
{% macro each_day(first, last) %}
    {{ return(adapter.dispatch('each_day')(first, last)) }}
{% endmacro %}

{% macro duckdb__each_day(first, last) -%}
    cast(unnest(generate_series({{ first }}, {{ last }}, interval 1 day)) as date)
{%- endmacro %}

{# The moment one microsecond later: the earliest prediction that may see an event. #}
{% macro just_after(moment) %}
    {{ return(adapter.dispatch('just_after')(moment)) }}
{% endmacro %}

{% macro duckdb__just_after(moment) -%}
    {{ moment }} + interval 1 microsecond
{%- endmacro %}

{# The moment one microsecond earlier. #}
{% macro just_before(moment) %}
    {{ return(adapter.dispatch('just_before')(moment)) }}
{% endmacro %}

{% macro duckdb__just_before(moment) -%}
    {{ moment }} - interval 1 microsecond
{%- endmacro %}

{# When a run began: its id starts with that time (UTC; to the second in ids of older versions). #}
{% macro run_started(run_id) %}
    {{ return(adapter.dispatch('run_started')(run_id)) }}
{% endmacro %}

{% macro duckdb__run_started(run_id) -%}
    (
        strptime(
            regexp_extract({{ run_id }}, '^[0-9T.]+'), ['%Y%m%dT%H%M%S.%f', '%Y%m%dT%H%M%S']
        ) at time zone 'UTC'
    )
{%- endmacro %}

{% macro is_date(text) %}
    {{ return(adapter.dispatch('is_date')(text)) }}
{% endmacro %}

{% macro duckdb__is_date(text) %}
    {% set found = run_query(
        "select coalesce(cast(try_cast(" ~ sql_text(text) ~ " as date) as varchar) = " ~ sql_text(text) ~ ", false)") %}
    {{ return(found.columns[0].values()[0]) }}
{% endmacro %}

{% macro is_time_zone(zone) %}
    {{ return(adapter.dispatch('is_time_zone')(zone)) }}
{% endmacro %}

{% macro duckdb__is_time_zone(zone) %}
    {% set found = run_query(
        "select count(*) from pg_timezone_names() where name = " ~ sql_text(zone)) %}
    {{ return(found.columns[0].values()[0] > 0) }}
{% endmacro %}

{# A moment as whole microseconds since 1970 (UTC). #}
{% macro to_microseconds(moment) %}
    {{ return(adapter.dispatch('to_microseconds')(moment)) }}
{% endmacro %}

{% macro duckdb__to_microseconds(moment) -%}
    epoch_us({{ moment }})
{%- endmacro %}
