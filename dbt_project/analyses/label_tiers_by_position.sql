-- Which tier fills each position of the label lists, and how much of it was clicked?
select
    label_lists.variant,
    label_lists.position,
    label_lists.tier,
    count(*) as labels,
    round(
        count(*) / sum(count(*)) over (partition by label_lists.variant, label_lists.position), 4
    ) as share_of_position,
    round(avg(cast(label_candidates.is_clicked as integer)), 4) as clicked_share,
from {{ ref('label_lists') }} as label_lists
inner join {{ ref('label_candidates') }} as label_candidates
    using (session_id, variant, tier, query_text)
group by label_lists.variant, label_lists.position, label_lists.tier
order by label_lists.variant, label_lists.position, label_lists.tier
