{{ config(severity='warn') }}

-- The grades of the newest day at the end of a build, for whoever watches it; those of other days are in
-- the tables. A warning: what is unusual need not be wrong.
with graded as (

    select
        stat_date,
        metric,
        part,
        value,
        baseline,
        grade,
    from {{ ref('day_metrics') }}

    union all

    select
        stat_date,
        'psi' as metric,
        column_name as part,
        psi as value,
        psi_by_chance as baseline,
        grade,
    from {{ ref('day_drift') }}

)

select * from graded
where
    grade = 'fail'
    and stat_date = (select max(stat_date) from {{ ref('day_counts') }})
-- What counts comes before shares of it.
order by value is null, metric = 'null_rate', metric, part
