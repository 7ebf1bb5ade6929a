{{ config(materialized='incremental', incremental_strategy='changed', meta={'day': 'stat_date'}) }}

-- Columns that may be null, and the rows that ought to have them.
{% set nullable = {
    'events': {
        'profile': 'true',
        'age_band': 'true',
        'gender': 'true',
        'region': 'true',
        'query_text': "action = 'search'",
        'item': "action in ('item_click', 'cart', 'order')",
        'quantity': "action in ('cart', 'order')",
        'price': "action in ('cart', 'order')",
    },
    'candidates': {'rank_score': 'true', 'recall_source': 'true', 'position': 'is_displayed'},
} %}
with events as (

    select
        events.event_date,
        events.user_id,
        events.action,
        events.query_text,
        events.quantity,
        events.price,
        users.user_id as profile,
        users.age_band,
        users.gender,
        users.region,
        items.item_id as item,
    from {{ ref('stg_events') }} as events
    left join {{ ref('stg_users') }} as users using (user_id)
    left join {{ ref('stg_items') }} as items using (item_id)
    where {{ in_changed_days('events.event_date') }}

),

candidates as (

    select * from {{ ref('stg_hint_candidates') }}
    where request_date is not null and {{ in_changed_days('request_date') }}

),

{% for table, day in {'events': 'event_date', 'candidates': 'request_date'}.items() %}
{{ table }}_by_day as (

    select
        {{ day }} as stat_date,
        {% for column, ought in nullable[table].items() %}
        count(case when {{ ought }} then 1 end) as of_{{ column }},
        count(case when {{ ought }} then {{ column }} end) as known_{{ column }},
        {% endfor %}
    from {{ table }}
    group by {{ day }}

),

{% endfor %}
requests as (

    select * from {{ ref('requests') }}
    where {{ in_changed_days('request_date') }}

),

sessions as (

    select 'direct' as variant, session_id, session_date from {{ ref('sessions_direct') }}
    where {{ in_changed_days('session_date') }}
    union all
    select 'think' as variant, session_id, session_date from {{ ref('sessions_think') }}
    where {{ in_changed_days('session_date') }}

),

labels as (

    select
        session_date,
        variant,
        session_id,
        tier,
    from {{ ref('label_lists') }}
    where {{ in_changed_days('session_date') }}

),

samples as (

    select
        session_date,
        variant,
        session_id,
        count(*) as labels,
    from labels
    group by session_date, variant, session_id

),

final as (

    select event_date as stat_date, 'count' as kind, 'events' as metric, action as part, count(*) as amount, null as total
    from events
    group by event_date, action

    union all

    select event_date, 'count', 'active_users', 'all', count(distinct user_id), null
    from events
    group by event_date

    union all

    select request_date, 'count', 'requests', 'all', count(*), null
    from requests
    group by request_date

    union all

    select request_date, 'count', 'candidates', 'all', count(*), null
    from candidates
    group by request_date

    union all

    {% for table, columns in nullable.items() %}
    {% for column in columns %}
    select
        stat_date,
        'share',
        'null_rate',
        '{{ table }}.{{ column }}',
        of_{{ column }} - known_{{ column }},
        of_{{ column }},
    from {{ table }}_by_day
    where of_{{ column }} > 0

    union all

    {% endfor %}
    {% endfor %}
    select request_date, 'share', 'hint_ctr', 'all', count(clicked_at), count(*)
    from candidates
    where is_displayed
    group by request_date

    union all

    select requests.request_date, 'share', 'sessions_kept', 'direct', count(sessions.session_id), count(*)
    from requests
    left join sessions
        on requests.request_id = sessions.session_id and sessions.variant = 'direct'
    group by requests.request_date

    union all

    select sessions.session_date, 'share', 'sessions_kept', 'think', count(samples.session_id), count(*)
    from sessions
    left join samples using (variant, session_id)
    where sessions.variant = 'think'
    group by sessions.session_date

    union all

    {% for variant, tier in [
        ('direct', 'click'), ('direct', 'rank'),
        ('think', 'click'), ('think', 'rank'), ('think', 'search'), ('think', 'llm'),
    ] %}
    select
        session_date,
        'share',
        'label_tier_share',
        '{{ variant }}.{{ tier }}',
        sum(case when tier = '{{ tier }}' then 1 else 0 end),
        count(*),
    from labels
    where variant = '{{ variant }}'
    group by session_date

    union all

    {% endfor %}
    select session_date, 'mean', 'labels_per_sample', variant, sum(labels), count(*)
    from samples
    group by session_date, variant

    union all

    select event_date, 'mean', 'query_length', 'characters', sum(length(query_text)), count(*)
    from events
    where action = 'search' and query_text is not null
    group by event_date

)

select * from final
