{{ config(materialized='incremental', incremental_strategy='changed', meta={'append': true}) }}

-- normalize_query is a Python function: called once per distinct text, then joined.
with typed as (

    select query_text as typed_text from {{ new_rows('raw', 'events') }}
    union
    select query_text from {{ new_rows('raw', 'hint_candidates') }}
    union
    -- These whole: a row that is new in them may have been changed before any build.
    select query_text from {{ source('think', 'llm_candidates') }}
    union
    select query_text from {{ source('think', 'alignments') }}

),

final as (

    select
        typed_text,
        normalize_query(typed_text) as query_text,
    from typed
    where
        typed_text is not null
        {% if is_partial() %}
        and typed_text not in (select typed_text from {{ this }})
        {% endif %}

)

select * from final
where query_text <> ''
