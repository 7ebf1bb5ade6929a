{{ config(materialized='view') }}

with proposals as (

    select * from {{ ref('x2q_proposals') }}

),

-- What is not scored yet is left out: any number in its place would bury or flatter it. So is a
-- search that leads to itself: who made it needs no hint of it, and that it is like itself says
-- nothing about others of its category.
scored as (

    select * from proposals
    inner join {{ ref('stg_x2q_scores') }} using (trigger, query_text)
    where trigger <> 'query:' || query_text

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
