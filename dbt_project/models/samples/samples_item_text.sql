{{ config(materialized='view') }}

with item_queries as (

    select * from {{ ref('item_queries') }}

),

facets as (

    select * from {{ ref('item_facets') }}

),

-- Of thousands of wanderers each credits another query: a tenth of the best is the least that counts.
supported as (

    select
        *,
        row_number() over (partition by item_id order by support desc, query_text) as place,
    from item_queries
    qualify 10 * support >= max(support) over (partition by item_id)

),

queries as (

    select
        item_id,
        {{ list_in_order('query_text', 'place') }} as queries,
        {{ list_in_order('support', 'place') }} as supports,
    from supported
    group by item_id

),

final as (

    select
        facets.*,
        queries.queries,
        queries.supports,
    from facets
    inner join queries using (item_id)

)

select * from final
