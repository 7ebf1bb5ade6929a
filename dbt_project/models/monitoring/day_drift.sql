with bins as (

    select * from {{ ref('day_bins') }}

),

days as (

    select
        stat_date,
        column_name,
        count(*) over (
            partition by column_name
            order by stat_date
            range between interval 7 days preceding and interval 1 day preceding
        ) as week_days,
    from bins
    group by stat_date, column_name

),

-- Each day beside the seven before it, in the bins that either has.
pairs as (

    select
        days.stat_date,
        days.column_name,
        days.week_days,
        bins.bin,
        sum(case when bins.stat_date = days.stat_date then bins.amount else 0 end) as day_amount,
        sum(case when bins.stat_date < days.stat_date then bins.amount else 0 end) as week_amount,
    from days
    inner join bins
        on
            days.column_name = bins.column_name
            and bins.stat_date between days.stat_date - 7 and days.stat_date
    group by days.stat_date, days.column_name, days.week_days, bins.bin

),

-- Half a row more in every bin: an empty one has no logarithm.
shares as (

    select
        *,
        count(*) over cells as bins,
        sum(day_amount) over cells as day_total,
        sum(week_amount) over cells as week_total,
        (day_amount + 0.5) / (sum(day_amount) over cells + 0.5 * count(*) over cells) as day_share,
        (week_amount + 0.5) / (sum(week_amount) over cells + 0.5 * count(*) over cells) as week_share,
    from pairs
    window cells as (partition by stat_date, column_name)

),

indexed as (

    select
        stat_date,
        column_name,
        sum((day_share - week_share) * ln(day_share / week_share)) as psi,
        -- What two samples of these sizes from one distribution have in the mean (chi-squared).
        (max(bins) - 1) * (1 / max(day_total) + 1 / max(week_total)) as psi_by_chance,
        max(day_total) as day_total,
        week_days,
    from shares
    where week_days > 0
    group by stat_date, column_name, week_days

),

final as (

    select
        stat_date,
        column_name,
        cast(round(psi, 6) as double) as psi,
        cast(round(psi_by_chance, 6) as double) as psi_by_chance,
        cast(day_total as bigint) as amount,
        case
            when week_days < 3 then 'new'
            when psi - psi_by_chance >= 0.25 then 'fail'
            when psi - psi_by_chance >= 0.1 then 'warn'
            else 'ok'
        end as grade,
    from indexed

)

select * from final
