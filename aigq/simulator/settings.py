"""Every parameter of the made-up shop; recipes/ has presets, and default.yaml lists them all.

Values were set before any model was trained on the shop, from what is commonly reported of shops
and search engines, and are not tuned to any result. The share of repeated searches decides more
than anything else how strong "what the user did before" is as a recommender: a third of the
queries of a web search engine repeats one of the same user's (Teevan et al., SIGIR 2007).
"""

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from aigq.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]

# Midnight of day 1; the shop's zone is UTC.
FIRST_DAY = datetime(2026, 1, 5, tzinfo=UTC)


class ShopSettings(Settings):
    """Parameters of one made-up shop; rates are per user, session, search or hint as each says."""

    # Size
    users: int = Field(10_000, ge=1, le=5_000_000, description="People who may visit.")
    days: int = Field(32, ge=1, le=1_000, description="Days of log, from 2026-01-05 on.")
    seed: int = Field(1, ge=0, description="Same seed, same bytes.")

    # Catalog
    items_per_leaf: int = Field(25, ge=2, le=200, description="Items per leaf category, mean.")
    leaf_zipf: Positive = Field(0.8, description="Exponent of demand over leaf categories.")
    item_zipf: Positive = Field(0.7, description="Exponent of demand over a leaf's items.")
    value_zipf: Positive = Field(0.6, description="Exponent of demand over attributes, brands.")
    new_item_share: Share = Field(0.15, description="Items launched during the log, day by day.")
    new_wording_share: Share = Field(
        0.1, description="Attributes, brands (given queries) that come into use during the log."
    )

    # Demand for leaf categories over time
    seasonal_share: Share = Field(0.4, description="Leaf categories with a season.")
    season_days: Positive = Field(56.0, description="Length of a season: a short year.")
    season_strength: float = Field(0.6, ge=0, description="Log of demand at a season's peak.")
    weekend_leaning: float = Field(
        0.2, ge=0, description="Log of weekend to weekday demand, std over leaf categories."
    )

    # People and visits
    new_user_share: Share = Field(0.15, description="Users who register during the log.")
    unknown_profile_share: Share = Field(0.04, description="Users who hide a profile field, each.")
    sessions_per_day: Positive = Field(0.31, description="Sessions per user and day, mean.")
    activity_shape: Positive = Field(0.9, description="Gamma shape of sessions over users.")
    weekend_factor: Positive = Field(1.25, description="Sessions on a weekend day to a weekday.")
    browse_share: Share = Field(0.06, description="Sessions without a search entry.")
    missing_exit_share: Share = Field(0.05, description="Sessions without an app_exit.")

    # Interests: what a user currently wants, drifting
    interests: int = Field(6, ge=1, le=20, description="Interests a user holds at a time.")
    lasting_share: Share = Field(0.3, description="Interests that last (tastes, supplies).")
    lasting_half_life_days: Positive = Field(60.0, description="Half-life of a lasting one.")
    passing_half_life_days: Positive = Field(5.0, description="Half-life of a passing one, median.")
    new_interest_rate: Share = Field(0.1, description="New interests per user and day.")
    related_interest_share: Share = Field(0.5, description="New interests near an older one.")
    bought_factor: Share = Field(0.4, description="Strength left to a passing one after an order.")

    # Searches. After the first of a session some vary the one before. Of all others a share
    # repeats an own earlier query, a share explores, and the rest (0.5; also what would repeat but
    # has no past) is related: it comes from the user's interests.
    reformulation_share: Share = Field(0.4, description="Later searches that vary the one before.")
    repeat_share: Share = Field(0.35, description="Other searches that repeat an earlier one.")
    exploratory_share: Share = Field(0.15, description="Other searches by all people's demand.")
    no_search_share: Share = Field(0.1, description="Search entries after which nothing is typed.")
    more_searches: float = Field(0.7, ge=0, description="Searches after the first, mean.")
    searches_after_hint: float = Field(0.6, ge=0, description="Typed after a clicked hint, mean.")
    main_interest_share: Share = Field(0.8, description="Related searches on the session's aim.")
    complement_share: Share = Field(0.12, description="Related searches for what goes with it.")

    # How searches are worded
    pattern_shares: tuple[Share, Share, Share, Share, Share] = Field(
        (0.30, 0.28, 0.18, 0.11, 0.13),
        description="Type; attribute + type; brand + type; two attributes; brand and attribute.",
    )
    own_taste_share: Share = Field(0.7, description="Attributes and brands from the user's taste.")
    synonym_share: Share = Field(0.3, description="Interests that a user names by the synonym.")
    swapped_share: Share = Field(0.05, description="Searches with the type first.")
    typo_share: Share = Field(0.04, description="Searches with a slip of the finger.")

    # After a search
    clicks_per_search: float = Field(1.7, ge=0, description="Item clicks per search, mean.")
    cart_relevant: Share = Field(0.26, description="Carts per click after a wanted query.")
    cart_irrelevant: Share = Field(0.1, description="Carts per click after any other query.")
    order_share: Share = Field(0.5, description="Carts that become an order at once.")

    # The production ranker; its score is a logistic model with these weights
    popular_head: int = Field(
        4, ge=1, le=10, description="Candidates from the very top of popular."
    )
    popular_pool: int = Field(
        40, ge=11, le=200, description="Popular queries the others come from."
    )
    popularity_memory: Share = Field(0.8, description="Weight of a count one day later.")
    max_candidates: int = Field(20, ge=10, le=24, description="Candidates scored, at most.")
    weight_popular: float = Field(2.0, description="Weight of log popularity: its bias.")
    weight_affinity: float = Field(2.0, description="Weight of the user's past in the category.")
    weight_own: float = Field(1.2, description="Weight of an own earlier search, fading.")
    score_noise: float = Field(0.4, ge=0, description="What its score misses, std of the logit.")
    score_offset: float = Field(-4.0, description="Constant of the logit.")
    explore_share: Share = Field(0.1, description="Requests whose third hint is a random one.")

    # Clicks on hints: P(click) = position_bias[k] (click_relevant[k] r + click_irrelevant[k] (1-r))
    # at position k for relevance r, trust bias after Agarwal et al., WWW 2019
    position_bias: tuple[Share, Share, Share] = Field(
        (1.0, 0.65, 0.45), description="Chance that position 1, 2, 3 is looked at."
    )
    click_relevant: tuple[Share, Share, Share] = Field(
        (0.5, 0.48, 0.46), description="Click chance of a relevant hint looked at, by position."
    )
    click_irrelevant: tuple[Share, Share, Share] = Field(
        (0.03, 0.017, 0.01), description="Of an irrelevant one: trust in the ranking."
    )

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.repeat_share + self.exploratory_share > 1:
            raise ValueError("repeat_share and exploratory_share are more than 1 together")
        if not sum(self.pattern_shares):
            raise ValueError("pattern_shares must not all be 0")
        return self
