with candidates as (

    select
        request_date,
        rank_score,
    from {{ ref('stg_hint_candidates') }}
    where request_date is not null and rank_score is not null

),

final as (

    select
        min(request_date) as first_date,
        {{ quantiles('rank_score', 10) }} as edges,
    from candidates
    where request_date = (select min(request_date) from candidates)

)

select * from final
