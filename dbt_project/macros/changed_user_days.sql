{# What this run makes anew, found as it begins: staging.changed_user_days, one row per user and shop
   day, without a user where the day is built for everyone. Not a model: a run of any part needs it,
   and one left from an earlier run would be wrong. #}
{% macro find_changes() %}
{% if execute and flags.WHICH in ('run', 'build') %}
    {% do run_query('create schema if not exists ' ~ target.database ~ '.staging') %}
    {% do run_query('create or replace table ' ~ user_days() ~ ' as ' ~ changed_user_days()) %}
    {% do run_query(
        'create or replace table ' ~ run_table('changed_days')
        ~ ' as select distinct cast(shop_date as varchar) as shop_date from ' ~ user_days()) %}
{% endif %}
{% endmacro %}

{% macro changed_user_days() %}
{% set since = built_snapshot() %}
{# A first day that moves, or hints where there were none, move the split and all that is replayed. #}
{% set everything = since is none %}
{% if not everything %}
    {% set found = run_query(
        "select "
        ~ "(select coalesce(min(" ~ shop_date('occurred_at') ~ "), date '9999-01-01') from " ~ as_it_was(source('raw', 'events'), since) ~ ")"
        ~ " > (select min(" ~ shop_date('occurred_at') ~ ") from " ~ new_rows('raw', 'events') ~ "),"
        ~ "(select count(*) from " ~ as_it_was(source('raw', 'hint_requests'), since) ~ ") = 0,"
        ~ "(select count(*) from " ~ new_rows('raw', 'hint_requests') ~ ") > 0"
    ).rows[0] %}
    {% set is_replayed = found[1] and not found[2] %}
    {% set everything = found[0] or (found[1] and found[2]) %}
{% endif %}
with events as (

    select
        user_id,
        item_id,
        {{ shop_date('occurred_at') }} as shop_date,
    from {{ source('raw', 'events') }}

),

requests as (

    select
        request_id,
        user_id,
        {{ shop_date('requested_at') }} as shop_date,
    from {{ source('raw', 'hint_requests') }}

),

{% if everything %}
clicks as (

    select {{ shop_date('clicked_at') }} as shop_date
    from {{ source('raw', 'hint_candidates') }}
    where clicked_at is not null

),

final as (

    select distinct cast(null as varchar) as user_id, shop_date from events
    union
    select null, shop_date from requests
    union
    select null, shop_date from clicks

)
{% else %}
{% set waiting = adapter.get_relation(target.database, 'staging', 'stg_hint_candidates') %}
new_candidates as (

    select request_id, clicked_at from {{ new_rows('raw', 'hint_candidates') }}
    {% if waiting %}
    union all
    -- Their request was not known.
    select request_id, clicked_at from {{ waiting }} where request_date is null
    {% endif %}

),

-- What is new about users and items is that they are known. What replaces a row that was known
-- leaves the days alone that were built with it.
new_users as (

    select user_id from {{ new_rows('raw', 'users') }}
    except
    select user_id from {{ as_it_was(source('raw', 'users'), since) }}

),

new_items as (

    select item_id from {{ new_rows('raw', 'items') }}
    except
    select item_id from {{ as_it_was(source('raw', 'items'), since) }}

),

{% set taught = {'llm_candidates': 'session_id', 'alignments': 'session_id, query_text'} %}
{% for table, key in taught.items() %}
new_{{ table }} as (

    select {{ key }} from {{ new_rows('think', table) }}
    except
    select {{ key }} from {{ as_it_was(source('think', table), since) }}

),

{% endfor %}
changes as (

    select user_id, {{ shop_date('occurred_at') }} as shop_date
    from {{ new_rows('raw', 'events') }}

    union

    select user_id, {{ shop_date('requested_at') }}
    from {{ new_rows('raw', 'hint_requests') }}

    union

    select requests.user_id, requests.shop_date
    from new_candidates
    inner join requests using (request_id)

    union

    select requests.user_id, {{ shop_date('new_candidates.clicked_at') }}
    from new_candidates
    inner join requests using (request_id)
    where new_candidates.clicked_at is not null

    union

    select user_id, shop_date from events
    where user_id in (select user_id from new_users) or item_id in (select item_id from new_items)

    union

    select user_id, shop_date from requests
    where user_id in (select user_id from new_users)

    {% for table in taught %}
    union

    -- session_id = `user_id:YYYY-MM-DD`
    select left(session_id, -11), try_cast(right(session_id, 10) as date)
    from new_{{ table }}

    {% endfor %}
    {% for day in var('rebuild_days') %}
    union

    select null, date '{{ day }}'

    {% endfor %}
),

final as (

    select * from changes
    where shop_date is not null
    {% if is_replayed %}

    union

    -- What is replayed counts all searches before it.
    select null, shop_date from events
    where shop_date > (select min(shop_date) from changes)
    {% endif %}

)
{% endif %}

select
    user_id,
    shop_date,
from final
{% endmacro %}
