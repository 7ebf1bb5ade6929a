{{ config(materialized='incremental', incremental_strategy='changed', meta={'key': 'query_text'}) }}

with touched as (

    select distinct query_text
    from {{ ref('query_spellings') }}
    where {{ in_changed_days('seen_date') }}

),

-- Candidates were shown, not typed: their spelling counts only where nobody typed the query.
spellings as (

    select
        query_text,
        display_text,
        sum(times_typed) as times_typed,
        sum(times_seen) as times_seen,
        min(seen_date) as first_seen_date,
    from {{ ref('query_spellings') }}
    where query_text in (select query_text from touched)
    group by query_text, display_text

),

final as (

    select
        query_text,
        display_text,
        min(first_seen_date) over (partition by query_text) as first_seen_date,
    from spellings
    qualify row_number() over (
        partition by query_text
        order by times_typed desc, times_seen desc, display_text
    ) = 1

)

select * from final
