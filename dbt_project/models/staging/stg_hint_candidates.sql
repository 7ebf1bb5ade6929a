{{ config(materialized='incremental', incremental_strategy='changed', meta={'day': 'request_date'}) }}

with scored as (

    select
        request_id,
        rank,
        query_text as typed_text,
        rank_score,
        recall_source,
        displayed as is_displayed,
        position,
        clicked_at,
    from {{ new_rows('raw', 'hint_candidates') }}
    {% if is_partial() %}

    union

    -- Those of the days that are made anew, and those whose request was not known.
    select
        request_id,
        rank,
        typed_text,
        rank_score,
        recall_source,
        is_displayed,
        position,
        clicked_at,
    from {{ this }}
    where {{ in_changed_days('request_date') }} or request_date is null
    {% endif %}

),

query_texts as (

    select * from {{ ref('stg_query_texts') }}

),

requests as (

    select * from {{ ref('stg_hint_requests') }}

),

final as (

    select
        scored.request_id,
        requests.request_date,
        scored.rank,
        scored.typed_text,
        query_texts.query_text,
        scored.rank_score,
        scored.recall_source,
        scored.is_displayed,
        scored.position,
        scored.clicked_at,
    from scored
    inner join query_texts on scored.typed_text = query_texts.typed_text
    left join requests using (request_id)

)

select * from final
