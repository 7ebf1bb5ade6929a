{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'session_date', 'user': 'user_id'}
) }}

with shop as (

    select * from {{ ref('shop') }}

),

users as (

    select * from {{ ref('stg_users') }}

),

requests as (

    select
        request_id as session_id,
        user_id,
        requested_at as session_start_at,
        request_date as session_date,
        requested_at as predicted_at,
        request_date as predicted_date,
        is_replayed,
    from {{ ref('requests') }} as requests
    where {{ in_changed_contexts('requests.user_id', 'requests.request_date') }}

),

displayed as (

    select
        request_id as session_id,
        {{ list_in_order(
            make_struct({
                'query_text': 'query_text',
                'position': 'position',
                'is_clicked': '(clicked_at is not null)',
                'rank_score': 'rank_score',
            }),
            'rank',
        ) }} as exposures,
    from {{ ref('candidates') }}
    where is_displayed and {{ from_first_changed_day('request_date') }}
    group by request_id

),

sessions as (

    select * from requests
    inner join displayed using (session_id)

),

searched as (

    select
        sessions.session_id,
        {{ list_distinct_sorted('later.content_text') }} as searched_next,
    from sessions
    inner join {{ ref('behaviors') }} as later
        on
            sessions.user_id = later.user_id
            and sessions.session_date = later.behavior_date
            and sessions.predicted_at < later.occurred_at
    where later.action = 'search' and {{ from_first_changed_day('later.behavior_date') }}
    group by sessions.session_id

),

{{ user_histories('behaviors.user_id in (select user_id from sessions)') }},

instances as (

    select
        sessions.session_id,
        sessions.user_id,
        sessions.session_start_at,
        sessions.session_date,
        sessions.predicted_at,
        sessions.predicted_date,
        case
            when sessions.session_date <= shop.train_end_date then 'train' else 'test'
        end as split,
        users.age_band,
        users.gender,
        users.region,
        sessions.exposures,
        coalesce(searched.searched_next, []) as searched_next,
        sessions.is_replayed,
    from sessions
    left join searched using (session_id)
    left join users using (user_id)
    cross join shop

),

contexts as (

{{ with_recent_behaviors('instances', var('max_behaviors')) }}

)

select * exclude (predicted_at, predicted_date) from contexts
