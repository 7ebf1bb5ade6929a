{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'request_date'}
) }}

-- A shop with hint logs replays nothing, which is asked beforehand: no context is looked for then.
{% set shop = ref('shop') %}
{% set is_built = execute and this is not none and flags.WHICH in ('run', 'build') %}
{% set found = run_query("select is_replayed from " ~ shop).columns[0].values() if is_built %}
{% set is_replayed = found[0] if found else true %}
{% set wanted = in_changed_days('request_date') if is_replayed else 'false' %}
with requests as (

    select
        request_id,
        user_id,
        request_date,
        request_date as predicted_date,
        {{ day_start('request_date') }} as predicted_at,
    from {{ ref('replayed_requests') }}
    where {{ wanted }}

),

{{ user_histories('select user_id from ' ~ ref('replayed_requests') ~ ' where ' ~ wanted) }},

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
