{# Removes what left the window of features.user_behaviors since its last build: before the newest
   `feature_days` days only each user's last row stays, so that nobody's context is lost. #}
{% macro forget_old_moments() %}
{% if is_partial() %}
with last_day as (

    select {{ shop_date('last_event_at') }} as last_date from {{ ref('shop') }}

),

before_window as (

    select
        user_id,
        event_timestamp,
    from {{ this }}
    cross join last_day
    where
        {{ shop_date(just_before('event_timestamp')) }}
        <= last_day.last_date - {{ var('feature_days') }}

)

delete from {{ this }}
where (user_id, event_timestamp) in (
    select (user_id, event_timestamp) from before_window
    qualify row_number() over (partition by user_id order by event_timestamp desc) > 1
)
{% endif %}
{% endmacro %}
