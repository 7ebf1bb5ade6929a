{{ config(materialized='view') }}

-- Of several runs over a session the newest counts, whole: run ids start with their time.
with ranked as (

    select
        session_id,
        query_text as typed_text,
        teacher_rank,
        rank() over (partition by session_id order by run_id desc) as age,
    from {{ source('think', 'llm_candidates') }}

)

select
    ranked.session_id,
    query_texts.query_text,
    min(ranked.teacher_rank) as teacher_rank,
from ranked
inner join {{ ref('stg_query_texts') }} as query_texts using (typed_text)
where ranked.age = 1
group by ranked.session_id, query_texts.query_text
