-- What became of the candidates of each tier: kept, or dropped and why?
select
    variant,
    tier,
    coalesce(drop_reason, 'kept') as fate,
    count(*) as candidates,
    round(count(*) / sum(count(*)) over (partition by variant, tier), 4) as share_of_tier,
from {{ ref('label_candidates') }}
group by variant, tier, fate
order by variant, tier, candidates desc
