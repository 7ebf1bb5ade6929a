-- No context knows the future, and each holds what the log says: the newest behaviours before the
-- prediction. Of every context none is on a later day, and each has a text; without any the list is
-- empty, not null. That they are in order, how many there are and which day is the newest is asked of
-- every context too, in a build from scratch of those of the newest day (else it costs as much as to
-- build all of them again; `dbt test` asks it of all); and place by place of the same 2,000 instances
-- of each table every time. For a test user-day "before" is told by the shop day.
{% set counted = in_days('samples.session_date', changed_days()[-1:])
    if execute and flags.WHICH == 'build' and not builds_on() else 'true' %}
with samples as not materialized (

{{ sampled_contexts() }}

),

counts as (

    select
        samples.sample,
        samples.instance_id,
        least(count(behaviors.event_id), {{ var('max_behaviors') }}) as behaviors,
        max(behaviors.behavior_date) as newest_date,
    from samples
    left join {{ ref('behavior_events') }} as behaviors
        on
            samples.user_id = behaviors.user_id
            and behaviors.occurred_at < samples.session_start_at
    where {{ counted }}
    group by samples.sample, samples.instance_id

),

chosen as (

    select
        sample,
        instance_id,
        user_id,
        session_start_at,
        session_date,
    from (
        {{ sampled_contexts(limit=2000) }}
    )

),

earlier as (

    select
        chosen.sample,
        chosen.instance_id,
        behaviors.content_key,
        behaviors.action,
        chosen.session_date - behaviors.behavior_date as days_ago,
        row_number() over (
            partition by chosen.sample, chosen.instance_id
            order by behaviors.occurred_at desc, behaviors.event_id desc
        ) as place,
    from chosen
    inner join {{ ref('behavior_events') }} as behaviors
        on
            chosen.user_id = behaviors.user_id
            and case chosen.sample
                when 'test_user_days' then behaviors.behavior_date < chosen.session_date
                else behaviors.occurred_at < chosen.session_start_at
            end
    qualify place <= {{ var('max_behaviors') }}

),

lists as (

    select
        sample,
        instance_id,
        {{ list_in_order(
            make_struct({'content_key': 'content_key', 'action': 'action', 'days_ago': 'days_ago'}),
            '-place',
        ) }} as behaviors,
    from earlier
    group by sample, instance_id

),

expected as (

    select
        chosen.sample,
        chosen.instance_id,
        coalesce(lists.behaviors, []) as behaviors,
    from chosen
    left join lists using (sample, instance_id)

)

select
    samples.sample,
    samples.instance_id,
    samples.behaviors,
    counts.behaviors as expected_number,
    counts.newest_date as expected_newest_date,
    expected.behaviors as expected_behaviors,
from samples
left join counts using (sample, instance_id)
left join expected using (sample, instance_id)
where
    samples.behaviors is null
    or list_min({{ list_field('samples.behaviors', 'days_ago') }})
    < case samples.sample when 'test_user_days' then 1 else 0 end
    or case
        when counts.behaviors is not null
            then
                len(samples.behaviors) <> counts.behaviors
                or samples.behaviors[-1].days_ago <> samples.session_date - counts.newest_date
                or {{ list_field('samples.behaviors', 'days_ago') }}
                <> list_reverse_sort({{ list_field('samples.behaviors', 'days_ago') }})
    end
    or list_count({{ list_field('samples.behaviors', 'content_text') }}) <> len(samples.behaviors)
    or case
        when expected.behaviors is not null
            then
                {% for field in ['content_key', 'action', 'days_ago'] %}
                {{ 'or' if not loop.first }} {{ list_field('samples.behaviors', field) }}
                <> {{ list_field('expected.behaviors', field) }}
                {% endfor %}
    end
