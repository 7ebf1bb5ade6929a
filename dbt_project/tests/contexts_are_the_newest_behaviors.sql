-- What a context holds, behaviour by behaviour, is what the log says: the newest before the
-- prediction, place by place from the newest. For a test user-day "before" is told by the shop day.
-- Big shops: the same 2,000 instances of each table every time.
with samples as (

{{ sampled_contexts(limit=2000) }}

),

expected as (

    select
        samples.sample,
        samples.instance_id,
        row_number() over (
            partition by samples.sample, samples.instance_id
            order by behaviors.occurred_at desc, behaviors.event_id desc
        ) as place,
        behaviors.content_key,
        behaviors.action,
        samples.session_date - behaviors.behavior_date as days_ago,
    from samples
    inner join {{ ref('behaviors') }} as behaviors
        on
            samples.user_id = behaviors.user_id
            and case samples.sample
                when 'test_user_days' then behaviors.behavior_date < samples.session_date
                else behaviors.occurred_at < samples.session_start_at
            end
    qualify place <= {{ var('max_behaviors') }}

),

found as (

    select
        sample,
        instance_id,
        len(behaviors) - unnest(range(len(behaviors))) as place,
        unnest(behaviors, recursive := true),
    from samples

)

select
    sample,
    instance_id,
    place,
    expected.content_key as expected_content_key,
    found.content_key,
from expected
full outer join found using (sample, instance_id, place)
where
    expected.content_key is distinct from found.content_key
    or expected.action is distinct from found.action
    or expected.days_ago is distinct from found.days_ago
