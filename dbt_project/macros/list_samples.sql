{# The samples of a variant: each session that has labels, with its context and both label orders. #}
{% macro list_samples(variant) %}
{% set wanted = in_changed_contexts('sessions.user_id', 'sessions.session_date') %}
{% set users = 'select user_id from ' ~ ref('sessions_' ~ variant) ~ ' as sessions where ' ~ wanted %}
with shop as (

    select * from {{ ref('shop') }}

),

sessions as (

    select
        *,
        session_start_at as predicted_at,
        session_date as predicted_date,
    from {{ ref('sessions_' ~ variant) }} as sessions
    where {{ wanted }}

),

users as (

    select * from {{ ref('stg_users') }}

),

{{ user_histories(users) }},

placed as (

{{ with_places('sessions') }}

),

label_lists as (

    select
        session_id,
        is_replayed,
        {{ list_of_rows({
            'position': 'position',
            'log_position': 'log_position',
            'query_text': 'query_text',
            'tier': 'tier',
        }) }} as labels,
    from {{ ref('label_lists') }}
    where variant = '{{ variant }}' and {{ from_first_changed_day('session_date') }}
    group by session_id, is_replayed

),

labels as (

    select
        session_id,
        is_replayed,
        {{ list_ordered('labels', 'position', 'query_text') }} as labels,
        {{ list_ordered('labels', 'log_position', 'query_text') }} as log_labels,
        {{ list_ordered('labels', 'position', 'tier') }} as label_tiers,
    from label_lists

),

instances as (

    select
        placed.session_id,
        placed.user_id,
        placed.session_start_at,
        placed.session_date,
        placed.predicted_at,
        placed.predicted_date,
        placed.newest_place,
        case when placed.session_date <= shop.train_end_date then 'train' else 'test' end as split,
        users.age_band,
        users.gender,
        users.region,
        labels.labels,
        labels.log_labels,
        labels.label_tiers,
        labels.is_replayed,
    from placed
    inner join labels using (session_id)
    left join users using (user_id)
    cross join shop

),

final as (

{{ with_recent_behaviors('instances', var('max_behaviors')) }}

)

select * from final
{% endmacro %}
