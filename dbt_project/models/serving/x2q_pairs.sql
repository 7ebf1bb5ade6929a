{{ config(materialized='view') }}

with pointed as (

    select
        triples.*,
        unnest(triples.triggers) as trigger,
    from {{ ref('stg_x2q_triples') }} as triples
    cross join {{ ref('shop') }} as shop
    where triples.session_date > {{ shop_date('shop.last_event_at') }} - {{ var('x2q_days') }}

),

proposed as (

    select
        *,
        unnest(queries) as query_text,
    from pointed

),

-- What is not scored yet is left out: any number in its place would bury or flatter it.
scored as (

    select * from proposed
    inner join {{ ref('stg_x2q_scores') }} using (trigger, query_text)

),

categories as (

    select
        'item:' || item_id as trigger,
        'category:' || leaf_category_id as category,
    from {{ ref('stg_items') }}
    where leaf_category_id is not null

    union all

    select
        'query:' || query_text as trigger,
        'category:' || leaf_category_id as category,
    from {{ ref('query_categories') }}

),

-- Each item and query leads to its proposals, and lends them to its category.
lent as (

    select
        scored.*,
        scored.trigger as holder,
    from scored

    union all

    select
        scored.*,
        categories.category as holder,
    from scored
    inner join categories using (trigger)

),

supports as (

    select
        holder,
        query_text,
        count(distinct session_id) as support,
    from lent
    group by holder, query_text

),

final as (

    select
        holder as trigger,
        query_text,
        lent.relevance,
        lent.predicted_ctr,
        supports.support,
        lent.rationale,
        lent.model_version,
    from lent
    inner join supports using (holder, query_text)
    -- The best proposal speaks for the pair.
    qualify row_number() over (
        partition by holder, query_text
        order by
            lent.relevance desc, lent.session_date desc, lent.session_id, lent.point_index,
            lent.trigger
    ) = 1

)

select * from final
