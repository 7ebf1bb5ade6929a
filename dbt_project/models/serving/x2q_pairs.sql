{{ config(materialized='view') }}

with triples as (

    select triples.*
    from {{ ref('stg_x2q_triples') }} as triples
    cross join {{ ref('shop') }} as shop
    where triples.session_date > {{ shop_date('shop.last_event_at') }} - {{ var('x2q_days') }}

),

pointed as (

    select
        session_id,
        session_date,
        point_index,
        unnest(triggers) as member,
        queries,
        rationale,
        model_version,
    from triples

),

proposed as (

    select
        session_id,
        session_date,
        point_index,
        member,
        unnest(queries) as query_text,
        rationale,
        model_version,
    from pointed

),

-- What is not scored yet is left out: any number in its place would bury or flatter it.
scored as (

    select
        proposed.*,
        scores.relevance,
        scores.predicted_ctr,
    from proposed
    inner join {{ ref('stg_x2q_scores') }} as scores
        on proposed.member = scores.trigger and proposed.query_text = scores.query_text

),

categories as (

    select
        'item:' || item_id as member,
        'category:' || leaf_category_id as trigger,
    from {{ ref('stg_items') }}
    where leaf_category_id is not null

    union all

    select
        'query:' || query_text as member,
        'category:' || leaf_category_id as trigger,
    from {{ ref('query_categories') }}

),

-- Each item and query leads to its proposals, and lends them to its category.
triggered as (

    select
        *,
        member as trigger,
    from scored

    union all

    select
        scored.*,
        categories.trigger,
    from scored
    inner join categories using (member)

),

supports as (

    select
        trigger,
        query_text,
        count(distinct session_id) as support,
    from triggered
    group by trigger, query_text

),

final as (

    select
        triggered.trigger,
        triggered.query_text,
        triggered.relevance,
        triggered.predicted_ctr,
        supports.support,
        triggered.rationale,
        triggered.model_version,
    from triggered
    inner join supports using (trigger, query_text)
    -- The best proposal speaks for the pair.
    qualify row_number() over (
        partition by triggered.trigger, triggered.query_text
        order by
            triggered.relevance desc,
            triggered.session_date desc,
            triggered.session_id,
            triggered.point_index,
            triggered.member
    ) = 1

)

select * from final
