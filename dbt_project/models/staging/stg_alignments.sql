{{ config(materialized='view') }}

with spelled as (

    select
        alignments.session_id,
        -- Of a lake from before judgements were among the spellings: as they are written.
        coalesce(query_texts.query_text, alignments.query_text) as query_text,
        alignments.is_aligned,
        alignments.reason,
        alignments.run_id,
    from {{ source('think', 'alignments') }} as alignments
    -- A judge may spell a candidate in its own way.
    left join {{ ref('stg_query_texts') }} as query_texts
        on alignments.query_text = query_texts.typed_text

)

-- Of several runs over a candidate the newest counts: run ids start with their time.
select
    session_id,
    query_text,
    is_aligned,
    reason,
from spelled
qualify row_number() over (
    partition by session_id, query_text order by run_id desc, is_aligned
) = 1
