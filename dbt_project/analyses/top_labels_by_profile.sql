-- The ten most frequent clicked labels of each age band and gender, as people type them.
select
    samples.age_band,
    samples.gender,
    queries.display_text,
    count(*) as sessions,
from {{ ref('label_lists') }} as label_lists
inner join {{ ref('samples_direct') }} as samples using (session_id)
inner join {{ ref('queries') }} as queries using (query_text)
where label_lists.variant = 'direct' and label_lists.tier = 'click'
group by samples.age_band, samples.gender, queries.display_text
qualify row_number() over (
    partition by samples.age_band, samples.gender order by count(*) desc, queries.display_text
) <= 10
order by samples.age_band, samples.gender, sessions desc, queries.display_text
