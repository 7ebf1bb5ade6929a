with candidates as (

    select * from {{ source('raw', 'hint_candidates') }}

),

query_texts as (

    select * from {{ ref('stg_query_texts') }}

),

final as (

    select
        candidates.request_id,
        candidates.rank,
        candidates.query_text as typed_text,
        query_texts.query_text,
        candidates.rank_score,
        candidates.recall_source,
        candidates.displayed as is_displayed,
        candidates.position,
        candidates.clicked_at,
    from candidates
    inner join query_texts on candidates.query_text = query_texts.typed_text

)

select * from final
