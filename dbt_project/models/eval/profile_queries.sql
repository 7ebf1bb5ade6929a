{{ config(materialized='incremental', incremental_strategy='changed', meta={'fitted_on': 'training_profiles'}) }}

with shop as (

    select * from {{ ref('shop') }}

),

users as (

    select * from {{ ref('stg_users') }}

),

days as (

    select
        coalesce(users.gender, 'unknown') as gender,
        coalesce(users.age_band, 'unknown') as age_band,
        coalesce(users.region, 'unknown') as region,
        behaviors.content_text as query_text,
        shop.train_end_date - behaviors.behavior_date as age,
        count(distinct behaviors.user_id) as users,
    from {{ ref('behaviors') }} as behaviors
    inner join shop on behaviors.behavior_date <= shop.train_end_date
    left join users using (user_id)
    where behaviors.action = 'search'
    {% if is_partial() and not fit_changed('training_profiles') %}
        and false
    {% endif %}
    group by all

),

own as (

    select
        gender,
        age_band,
        region,
        query_text,
        sum(users * {{ half_life('age', 7) }}) as popularity,
    from days
    group by gender, age_band, region, query_text

),

shares as (

{{ query_shares() }}

),

-- Of the queries that nobody of a profile has searched, no others can be among its best 30.
popular as (

    select query_text
    from shares
    qualify row_number() over (order by popularity desc, query_text) <= 30

),

wanted as (

    select gender, age_band, region, query_text from own
    union
    select gender, age_band, region, query_text
    from (select distinct gender, age_band, region from own) as profiles
    cross join popular

),

final as (

    select
        gender,
        age_band,
        region,
        -- The weight was chosen on a development day: training/LOG.md.
        cast(row_number() over (
            partition by gender, age_band, region
            order by coalesce(own.popularity, 0) + 100 * shares.share desc, query_text
        ) as integer) as position,
        query_text,
    from wanted
    inner join shares using (query_text)
    left join own using (gender, age_band, region, query_text)
    qualify position <= 30

)

select * from final
