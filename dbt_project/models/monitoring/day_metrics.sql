with counts as (

    select * from {{ ref('day_counts') }}

),

-- Every day, also one of which nothing came in.
dates as (

    select {{ each_day('min(stat_date)', 'max(stat_date)') }} as stat_date from counts

),

-- A part that is missing on a day counted nothing that day.
cells as (

    select
        dates.stat_date,
        parts.kind,
        parts.metric,
        parts.part,
        coalesce(counts.amount, 0) as amount,
        counts.total,
    from dates
    cross join (select distinct kind, metric, part from counts) as parts
    left join counts
        on
            dates.stat_date = counts.stat_date
            and parts.metric = counts.metric
            and parts.part = counts.part

),

valued as (

    select
        *,
        case when kind = 'count' then amount else amount / nullif(total, 0) end as value,
    from cells

),

compared as (

    select
        *,
        avg(value) over week as baseline,
        count(value) over week as baseline_days,
        avg(coalesce(total, 0)) over week as usual_total,
    from valued
    window week as (
        partition by metric, part
        order by stat_date
        range between interval 7 days preceding and interval 1 day preceding
    )

),

-- How far off: factors for counts and means, differences for shares; beyond three standard errors.
judged as (

    select
        *,
        case kind
            when 'share'
                then abs(value - baseline) - 3 * sqrt(baseline * (1 - baseline) / total)
            when 'count'
                then
                    (abs(value - baseline) - 3 * sqrt(baseline))
                    / greatest(least(value, baseline), 1)
            else abs(value - baseline) / nullif(least(value, baseline), 0)
        end as distance,
        case kind when 'share' then 0.05 when 'count' then 1 else 0.2 end as warn_from,
        case kind when 'share' then 0.2 when 'count' then 4 else 0.5 end as fail_from,
    from compared

),

final as (

    select
        stat_date,
        metric,
        part,
        kind,
        cast(value as double) as value,
        cast(baseline as double) as baseline,
        case
            when baseline_days < 3 then 'new'
            -- Fewer than ten a day may be none by chance.
            when value is null and baseline > 0 and usual_total >= 10 then 'fail'
            when kind = 'count' and value = 0 and baseline >= 10 then 'fail'
            when distance >= fail_from then 'fail'
            when distance >= warn_from then 'warn'
            else 'ok'
        end as grade,
    from judged
    where value is not null or baseline is not null

)

select * from final
