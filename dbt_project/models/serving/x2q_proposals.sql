{{ config(materialized='view') }}

with triples as (

    select * from {{ ref('stg_x2q_triples') }}

),

shop as (

    select * from {{ ref('shop') }}

),

pointed as (

    select
        triples.*,
        unnest(triples.triggers) as trigger,
    from triples
    cross join shop
    where triples.session_date > {{ shop_date('shop.last_event_at') }} - {{ var('x2q_days') }}

),

proposed as (

    select
        *,
        unnest(queries) as query_text,
    from pointed

),

-- A point that repeats a trigger or a query says it once.
final as (

    select distinct
        session_id,
        session_date,
        point_index,
        trigger,
        query_text,
        rationale,
        model_version,
    from proposed

)

select * from final
