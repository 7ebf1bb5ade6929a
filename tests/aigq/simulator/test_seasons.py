import numpy as np

from aigq.simulator.seasons import Seasons
from aigq.simulator.settings import ShopSettings

LEAVES = 300


def test_some_leaves_have_a_season_and_come_back_to_it():
    settings = ShopSettings(weekend_leaning=0, season_days=28, season_strength=0.5)
    factors = Seasons(settings, LEAVES).factors(np.arange(28))
    moving = np.ptp(factors, axis=0) > 1e-9
    assert 0.3 < moving.mean() < 0.5
    assert (factors[:, ~moving] == 1).all()
    assert np.log(factors[:, moving].max(axis=0)).min() > 0.48
    assert np.log(factors).max() <= 0.5
    # Peaks lie all over the year, and a year later all is as before.
    assert len(set(factors[:, moving].argmax(axis=0))) > 20
    assert np.allclose(
        Seasons(settings, LEAVES).factors([3]), Seasons(settings, LEAVES).factors([31])
    )


def test_weekends():
    factors = Seasons(ShopSettings(seasonal_share=0), LEAVES).factors(np.arange(14))
    assert (factors[[0, 1, 2, 3, 4, 7, 11]] == 1).all()
    assert (factors[[5, 6, 12, 13]] == factors[5]).all()
    assert abs(np.log(factors[5]).std() - 0.2) < 0.03
