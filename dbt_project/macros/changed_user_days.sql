{# What this run makes anew, found as it begins: staging.changed_user_days, one row per user and shop
   day, without a user where the day is built for everyone. Not a model: a run of any part needs it,
   and one left from an earlier run would be wrong. #}
{% macro find_changes() %}
{% if execute and flags.WHICH in ('run', 'build') %}
    {% set since = (run_to_build_on() or {}).get('snapshot') %}
    {% do run_query(
        'create or replace table ' ~ run_table('this_run') ~ ' as select '
        ~ ('null' if since is none else since) ~ ' as built_snapshot') %}
    {% do forget_histories() %}
    {% do run_query('create schema if not exists ' ~ target.database ~ '.staging') %}
    {% set found = run_table('changed_user_days') %}
    {% do run_query('create or replace table ' ~ found ~ ' as ' ~ changed_user_days(since)) %}
    {% set existing = adapter.get_relation(target.database, 'staging', 'changed_user_days') %}
    {% do run_query('begin; ' ~ put_in_place(user_days(), existing, found) ~ '; commit') %}
    {% do run_query(
        'create or replace table ' ~ run_table('changed_days')
        ~ ' as select distinct cast(shop_date as varchar) as shop_date from ' ~ found) %}
{% endif %}
{% endmacro %}

{# `rebuild_days` of this run and of those since the last complete one, which did not see to them. #}
{% macro days_asked_for(since) %}
{% set found = run_query(
    "select json_extract_string(parameters, '$.vars.rebuild_days') from " ~ source('meta', 'runs')
    ~ " where snapshot_read > " ~ since
    ~ " and json_extract(parameters, '$.vars.rebuild_days') is not null") %}
{% set days = [] %}
{% for text in found.columns[0].values() %}{% do days.extend(fromjson(text)) %}{% endfor %}
{{ return(days | unique | sort) }}
{% endmacro %}

{% macro changed_user_days(since) %}
{% if since is none %}
{# By minutes, as the calendar is slow for millions of moments, and days begin with a minute in every
   zone. #}
with minutes as (

    select {{ minute_of('occurred_at') }} as began_at from {{ source('raw', 'events') }}
    union
    select {{ minute_of('requested_at') }} from {{ source('raw', 'hint_requests') }}
    union
    select {{ minute_of('clicked_at') }} from {{ source('raw', 'hint_candidates') }}
    where clicked_at is not null

),

final as (

    select
        cast(null as varchar) as user_id,
        {{ shop_date('began_at') }} as shop_date,
        true as is_logged,
    from minutes

)
{% else %}
{% set events, requests = source('raw', 'events'), source('raw', 'hint_requests') %}
{% set found = run_query("select count(*) from (select 1 from " ~ requests ~ " limit 1)") %}
{% set is_replayed = not found.columns[0].values()[0] %}
with new_candidates as (

    select request_id, clicked_at from {{ rows_inserted_since('raw', 'hint_candidates', since) }}

    union all

    -- They waited for their request. Not by what staging says: a run that built a part of the
    -- tables may have placed them there, and no other table knows of their clicks.
    select request_id, clicked_at from {{ source('raw', 'hint_candidates') }}
    where
        clicked_at is not null
        and request_id in (
            select request_id from {{ rows_inserted_since('raw', 'hint_requests', since) }}
        )

),

-- What is new about users, items and sessions is that they are known, if only to a part of the
-- tables. What replaces a row that was known leaves the days alone that were built with it.
{% set taught = {'llm_candidates': 'session_id', 'alignments': 'session_id, query_text'} %}
{% set known = [('raw', 'users', 'user_id'), ('raw', 'items', 'item_id')] %}
{% for table, key in taught.items() %}{% do known.append(('think', table, key)) %}{% endfor %}
{% set other_states = other_states_built(since) %}
{% for schema, table, key in known %}
new_{{ table }} as (

    (
        select {{ key }} from {{ source(schema, table) }}
        {% for state in other_states %}
        union all
        select {{ key }} from {{ as_it_was(source(schema, table), state) }}
        {% endfor %}
    )
    except
    select {{ key }} from {{ as_it_was(source(schema, table), since) }}

),

{% endfor %}
-- Days come last: the calendar is slow.
moments as (

    select user_id, occurred_at as moment, true as is_logged
    from {{ rows_inserted_since('raw', 'events', since) }}

    union all

    select user_id, requested_at, true
    from {{ rows_inserted_since('raw', 'hint_requests', since) }}

    union all

    {% for moment in ['requests.requested_at', 'new_candidates.clicked_at'] %}
    select requests.user_id, {{ moment }}, true
    from new_candidates
    inner join {{ requests }} as requests using (request_id)
    where {{ moment }} is not null

    union all

    {% endfor %}
    select user_id, occurred_at, true from {{ events }}
    where item_id in (select item_id from new_items)

    union all

    select user_id, occurred_at, false from {{ events }}
    where user_id in (select user_id from new_users)

    union all

    select user_id, requested_at, false from {{ requests }}
    where user_id in (select user_id from new_users)

),

changes as (

    select distinct
        user_id,
        {{ shop_date('moment') }} as shop_date,
        is_logged,
    from moments

    {% for table in taught %}
    union all

    -- session_id = `user_id:YYYY-MM-DD`
    select left(session_id, -11), try_cast(right(session_id, 10) as date), false
    from new_{{ table }}

    {% endfor %}
    {% for day in days_asked_for(since) %}
    union all

    select null, date '{{ day }}', false

    {% endfor %}
),

final as (

    select * from changes
    where shop_date is not null

    {% if is_replayed %}
    union all

    -- What is replayed counts all searches before it.
    select null, {{ shop_date('began_at') }} as shop_date, true
    from (select distinct {{ minute_of('occurred_at') }} as began_at from {{ events }})
    where {{ shop_date('began_at') }} > (select min(shop_date) from changes where is_logged)
    {% endif %}

)
{% endif %}

select
    user_id,
    shop_date,
    bool_or(is_logged) as is_logged,
    {{ 'false' if since is none else 'coalesce(user_id in (select user_id from new_users), false)' }} as is_new_user,
from final
group by user_id, shop_date
{% endmacro %}
