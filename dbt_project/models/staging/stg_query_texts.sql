-- normalize_query is a Python function: called once per distinct text, then joined.
with typed as (

    select query_text as typed_text from {{ source('raw', 'events') }}
    union
    select query_text from {{ source('raw', 'hint_candidates') }}
    union
    select query_text from {{ source('think', 'llm_candidates') }}

),

final as (

    select
        typed_text,
        normalize_query(typed_text) as query_text,
    from typed
    where typed_text is not null

)

select * from final
where query_text <> ''
