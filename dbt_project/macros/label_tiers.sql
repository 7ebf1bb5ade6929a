{# The tiers of label_candidates. Of a session and a query they know a `session_key` and a
   `query_key`. From scratch these are numbers: the candidates of a million page views took 27 s so,
   and 44 by their texts. In a day's build they are the id and the text, as to number the texts takes
   a look at all there ever were. #}
{% macro labels_by_number() %}{{ return(not is_partial()) }}{% endmacro %}

{# The rows' key of a query. #}
{% macro query_key(rows, is_numbered) %}
{{ return('queries.query_key' if is_numbered else rows ~ '.query_text') }}
{% endmacro %}

{# The join that it needs. A text that is not there keeps its row, and fails the grain. #}
{% macro with_query_key(rows, is_numbered) %}
{{ return('left join queries on ' ~ rows ~ '.query_text = queries.query_text' if is_numbered else '') }}
{% endmacro %}

{# The two tiers of `direct_sessions` (AIGQ eq. 3): hints clicked, in the order of the clicks, and all
   candidates of the request, by score. #}
{% macro direct_tiers(is_numbered) %}
with candidates as (

    select
        sessions.session_key,
        {{ query_key('candidates', is_numbered) }} as query_key,
        candidates.rank,
        candidates.rank_score,
        candidates.clicked_at,
        candidates.is_displayed and candidates.clicked_at is not null as is_click,
    from direct_sessions as sessions
    inner join {{ ref('candidates') }} as candidates
        on
            sessions.session_id = candidates.request_id
            and sessions.session_date = candidates.request_date
            and {{ in_changed_days('candidates.request_date') }}
    {{ with_query_key('candidates', is_numbered) }}

),

-- Two spellings of one query in a request: the better placed one stands for both.
scored as (

    select
        session_key,
        query_key,
        max(rank_score) as rank_score,
        min({{ make_struct({'score': "coalesce(-rank_score, 'infinity')", 'rank': 'rank'}) }}) as best,
        min(
            case when is_click then {{ make_struct({
                'clicked_at': 'clicked_at', 'rank': 'rank', 'rank_score': 'rank_score'
            }) }} end
        ) as first_click,
    from candidates
    group by session_key, query_key

)

select
    session_key,
    query_key,
    'click' as tier,
    1 as tier_order,
    cast({{ to_microseconds('first_click.clicked_at') }} as double) as first_key,
    cast(first_click.rank as bigint) as second_key,
    first_click.rank_score as rank_score,
    true as is_clicked,
    false as is_repeated,
from scored
where first_click is not null

union all

select
    session_key,
    query_key,
    'rank' as tier,
    2 as tier_order,
    best.score as first_key,
    cast(best.rank as bigint) as second_key,
    rank_score,
    first_click is not null as is_clicked,
    first_click is not null as is_repeated,
from scored
{% endmacro %}

{# What happened to each query in the window of one of `think_sessions`: candidates scored and hints
   clicked in its requests, searches, and what a teacher LLM proposed. #}
{% macro think_queries(is_numbered) %}
-- Recorded requests only: a replayed one proposes what the user then searched.
with scored as (

    select
        sessions.session_key,
        {{ query_key('candidates', is_numbered) }} as query_key,
        true as is_scored,
        candidates.rank_score,
        case when candidates.is_displayed then candidates.clicked_at end as clicked_at,
        cast(null as timestamptz) as searched_at,
        cast(null as integer) as teacher_rank,
        false as is_proposed,
    from think_sessions as sessions
    inner join {{ ref('stg_hint_requests') }} as requests
        on
            sessions.user_id = requests.user_id
            and sessions.session_date = requests.request_date
            and {{ in_changed_days('requests.request_date') }}
            and requests.requested_at between sessions.session_start_at and sessions.session_end_at
    inner join {{ ref('stg_hint_candidates') }} as candidates
        on
            requests.request_id = candidates.request_id
            and sessions.session_date = candidates.request_date
            and {{ in_changed_days('candidates.request_date') }}
    {{ with_query_key('candidates', is_numbered) }}

),

searched as (

    select
        sessions.session_key,
        {{ query_key('events', is_numbered) }} as query_key,
        false as is_scored,
        null as rank_score,
        null as clicked_at,
        events.occurred_at as searched_at,
        null as teacher_rank,
        false as is_proposed,
    from think_sessions as sessions
    inner join {{ ref('stg_events') }} as events
        on
            sessions.user_id = events.user_id
            and sessions.session_date = events.event_date
            and {{ in_changed_days('events.event_date') }}
            and events.occurred_at between sessions.session_start_at and sessions.session_end_at
    {{ with_query_key('events', is_numbered) }}
    where events.action = 'search' and events.query_text is not null

),

proposed as (

    select
        sessions.session_key,
        {{ query_key('proposed', is_numbered) }} as query_key,
        false as is_scored,
        null as rank_score,
        null as clicked_at,
        null as searched_at,
        proposed.teacher_rank,
        true as is_proposed,
    from {{ ref('stg_llm_candidates') }} as proposed
    inner join think_sessions as sessions using (session_id)
    {{ with_query_key('proposed', is_numbered) }}

)

select
    session_key,
    query_key,
    bool_or(is_scored) as is_scored,
    max(rank_score) as rank_score,
    count(clicked_at) as clicks,
    max(clicked_at) as latest_click_at,
    count(searched_at) as searches,
    max(searched_at) as latest_search_at,
    bool_or(is_proposed) as is_proposed,
    min(teacher_rank) as teacher_rank,
from (
    select * from scored union all select * from searched union all select * from proposed
)
group by session_key, query_key
{% endmacro %}

{# The four tiers of `think_queries` (AIGQ eq. 4), each with its own order. #}
{% macro think_tiers() %}
{% set tiers = [
    ('click', 'clicks > 0', '-clicks', '-' ~ to_microseconds('latest_click_at')),
    ('rank', 'is_scored', "coalesce(-rank_score, 'infinity')", '0'),
    ('search', 'searches > 0', '-searches', '-' ~ to_microseconds('latest_search_at')),
    ('llm', 'is_proposed', "coalesce(teacher_rank, 'infinity')", '0'),
] %}
{% set better = [] %}
{% for tier, is_in_tier, first_key, second_key in tiers %}
select
    session_key,
    query_key,
    '{{ tier }}' as tier,
    {{ loop.index }} as tier_order,
    cast({{ first_key }} as double) as first_key,
    cast({{ second_key }} as bigint) as second_key,
    rank_score,
    clicks > 0 as is_clicked,
    {{ better | join(' or ') or 'false' }} as is_repeated,
from think_queries
where {{ is_in_tier }}
{{ 'union all' if not loop.last }}
{% do better.append(is_in_tier) %}
{% endfor %}
{% endmacro %}
