{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'session_date', 'user': 'user_id'}
) }}

{% set wanted = in_changed_contexts('requests.user_id', 'requests.request_date') %}
with shop as (

    select * from {{ ref('shop') }}

),

users as (

    select * from {{ ref('stg_users') }}

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
    where
        {{ wanted }}
        and requests.request_id in (select session_id from displayed)

),

searched as (

    select
        requests.session_id,
        {{ list_distinct_sorted('later.content_text') }} as searched_next,
    from requests
    inner join {{ ref('behaviors') }} as later
        on
            requests.user_id = later.user_id
            and requests.session_date = later.behavior_date
            and requests.predicted_at < later.occurred_at
    where later.action = 'search' and {{ from_first_changed_day('later.behavior_date') }}
    group by requests.session_id

),

{{ user_histories('select user_id from ' ~ ref('requests') ~ ' as requests where ' ~ wanted) }},

instances as (

    select
        requests.session_id,
        requests.user_id,
        requests.session_start_at,
        requests.session_date,
        requests.predicted_at,
        requests.predicted_date,
        case
            when requests.session_date <= shop.train_end_date then 'train' else 'test'
        end as split,
        users.age_band,
        users.gender,
        users.region,
        displayed.exposures,
        coalesce(searched.searched_next, []) as searched_next,
        requests.is_replayed,
    from requests
    inner join displayed using (session_id)
    left join searched using (session_id)
    left join users using (user_id)
    cross join shop

),

placed as (

{{ with_places('instances') }}

),

final as (

{{ with_recent_behaviors('placed', var('max_behaviors')) }}

)

select * from final
