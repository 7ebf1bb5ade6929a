{% set windows = [1, 7, 30] %}
{% set counts = ['page_views', 'hint_impressions', 'hint_clicks'] %}
with query_days as (

    select * from {{ ref('query_days') }}

),

shop as (

    select
        {{ shop_date('last_event_at') }} as last_date,
        -- Clicks may come after the newest event.
        greatest(
            last_event_at,
            (select max(requested_at) from {{ ref('stg_hint_requests') }}),
            (select max(clicked_at) from {{ ref('stg_hint_candidates') }})
        ) as newest_at,
    from {{ ref('shop') }}

),

-- The newest days, without a gap, since a query may lapse on a day when nothing happens; and when all
-- that a day counts was known.
dates as (

    select
        dates.stat_date,
        least(
            {{ day_start('cast(dates.stat_date + 1 as date)') }},
            {{ just_after('shop.newest_at') }}
        ) + {{ build_offset() }} as event_timestamp,
    from (
        select {{ each_day('min(stat_date)', '(select last_date from shop)') }} as stat_date
        from query_days
    ) as dates
    cross join shop
    where dates.stat_date > shop.last_date - {{ var('feature_days') }}

),

counted as (

    select
        query_days.query_text,
        dates.event_timestamp,
        {% for days in windows %}{% for count in counts %}
        cast(sum(
            case when query_days.stat_date > dates.stat_date - {{ days }} then {{ count }} else 0 end
        ) as bigint) as {{ count }}_{{ days }}d,
        {% endfor %}{% endfor %}
    from dates
    inner join query_days
        on
            query_days.stat_date <= dates.stat_date
            -- A day more than counts: on the day that a query lapses it has zeros.
            and query_days.stat_date >= dates.stat_date - {{ windows | max }}
    group by query_days.query_text, dates.event_timestamp

),

-- Clicks over displays, drawn towards the shop's own: a query hardly shown has the shop's rate.
final as (

    select
        query_text,
        {% for days in windows %}{% for count in counts %}
        {{ count }}_{{ days }}d,
        {% endfor %}
        (
            hint_clicks_{{ days }}d
            + {{ var('ctr_prior_impressions') }} * coalesce(
                sum(hint_clicks_{{ days }}d) over as_of
                / nullif(sum(hint_impressions_{{ days }}d) over as_of, 0), 0
            )
        ) / (hint_impressions_{{ days }}d + {{ var('ctr_prior_impressions') }})
            as hint_ctr_{{ days }}d,
        {% endfor %}
        event_timestamp,
        timestamptz '{{ run_started_at.isoformat() }}' as created_at,
    from counted
    window as_of as (partition by event_timestamp)

)

select * from final
