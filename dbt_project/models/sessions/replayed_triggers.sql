{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'request_date'}
) }}

-- In a shop with hint logs there are none, and nobody's history is looked at.
{% set shop = ref('shop') %}
{% set is_replayed = not (execute and this is not none and flags.WHICH in ('run', 'build'))
    or run_query("select is_replayed from " ~ shop).columns[0].values()[0] %}
with requests as (

    select
        request_id,
        user_id,
        request_date,
        request_date as predicted_date,
        {{ day_start('request_date') }} as predicted_at,
    from {{ ref('replayed_requests') }}
    where {{ in_changed_days('request_date') if is_replayed else 'false' }}

),

{{ user_histories('behaviors.user_id in (select user_id from requests)') }},

placed as (

{{ with_places('requests') }}

),

contexts as (

{{ with_recent_behaviors('placed', newest=10) }}

),

final as (

    select distinct
        request_id,
        request_date,
        unnest({{ list_field('behaviors', 'content_key') }}) as content_key,
        true as is_replayed,
    from contexts

)

select * from final
