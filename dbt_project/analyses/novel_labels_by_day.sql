-- How many first labels does the user's context not hold, day by day? Copying cannot reach these.
select
    session_date,
    split,
    count(*) as sessions,
    round(avg(len(behaviors)), 1) as behaviors_per_session,
    round(avg(cast(
        not list_contains(
            list_transform(behaviors, lambda b: b.content_key), 'query:' || labels[1]
        ) as integer
    )), 4) as novel_first_label_share,
    round(avg(len(list_filter(labels, lambda q: not list_contains(
        list_transform(behaviors, lambda b: b.content_key), 'query:' || q
    ))) / len(labels)), 4) as novel_label_share,
from {{ ref('samples_direct') }}
group by session_date, split
order by session_date
