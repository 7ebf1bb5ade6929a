-- Where do clicks come from: place on the page (position bias) and recall source.
select
    recall_source,
    position,
    count(*) as impressions,
    count(clicked_at) as clicks,
    round(count(clicked_at) / count(*), 4) as click_through_rate,
    round(avg(rank_score), 4) as mean_rank_score,
from {{ ref('candidates') }}
where is_displayed
group by recall_source, position
order by recall_source, position
