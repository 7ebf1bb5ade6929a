"""CTR metrics against hand-computed rows and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from training.ctr.metrics import (
    auc,
    calibration_error,
    calibration_table,
    gauc,
    log_losses,
    measure,
    user_aucs,
)

# Few values, so that ties are common.
shown = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.3, 0.7, 0.9]), st.sampled_from("abc")),
    min_size=2,
    max_size=40,
)


def columns(rows):
    clicked, predicted, users = zip(*rows, strict=True)
    return np.array(clicked), np.array(predicted), np.array(users)


@given(shown)
def test_auc_and_log_loss_are_those_of_scikit_learn(rows):
    clicked, predicted, _ = columns(rows)
    if clicked.all() or not clicked.any():
        assert np.isnan(auc(clicked, predicted))
        return
    assert auc(clicked, predicted) == pytest.approx(sklearn.roc_auc_score(clicked, predicted))
    assert log_losses(clicked, predicted).mean() == pytest.approx(
        sklearn.log_loss(clicked, predicted)
    )


@given(shown)
def test_gauc_is_the_weighted_mean_of_each_users_auc(rows):
    clicked, predicted, users = columns(rows)
    total = weight = 0.0
    for user in "abc":
        own = users == user
        if own.any() and 0 < clicked[own].sum() < own.sum():
            total += own.sum() * sklearn.roc_auc_score(clicked[own], predicted[own])
            weight += own.sum()
    if weight:
        assert gauc(clicked, predicted, users) == pytest.approx(total / weight)
    else:
        assert np.isnan(gauc(clicked, predicted, users))


def test_gauc_by_hand():
    """Ann: three hints, the click is above one of two others (AUC 0.5). Bob: two, right (1.0). Cy
    never clicked and does not count. (3 * 0.5 + 2 * 1) / 5 = 0.7."""
    users = np.array(["ann", "ann", "ann", "bob", "bob", "cy"])
    clicked = np.array([False, True, False, True, False, False])
    predicted = np.array([0.9, 0.5, 0.1, 0.6, 0.2, 0.9])
    names, values, counts = user_aucs(clicked, predicted, users)
    assert names.tolist() == ["ann", "bob", "cy"]
    assert values[:2].tolist() == [0.5, 1.0] and np.isnan(values[2])
    assert counts.tolist() == [3, 2, 1]
    assert gauc(clicked, predicted, users) == pytest.approx(0.7)


def test_calibration_by_hand():
    """Ten bins of two hints each, predicted 0.05, 0.15, ... 0.95. Clicked: one of two everywhere.
    |0.05 - 0.5| + |0.15 - 0.5| + ... = 2 * (0.45 + 0.35 + 0.25 + 0.15 + 0.05) = 2.5; / 10."""
    predicted = np.repeat(np.arange(10) / 10 + 0.05, 2)
    clicked = np.tile([True, False], 10)
    table = calibration_table(clicked, predicted)
    assert table[:, 0].tolist() == [2] * 10
    assert table[:, 2].tolist() == [1] * 10
    assert calibration_error(clicked, predicted) == pytest.approx(0.25)


def test_calibration_bins_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    predicted = rng.random(1000)
    clicked = rng.random(1000) < predicted**2
    observed, mean = sklearn_curve(clicked, predicted)
    table = calibration_table(clicked, predicted)
    assert table[:, 2] / table[:, 0] == pytest.approx(observed)
    assert table[:, 1] / table[:, 0] == pytest.approx(mean)
    # In equally full bins ECE is the plain mean of the gaps.
    assert calibration_error(clicked, predicted) == pytest.approx(np.abs(observed - mean).mean())


def sklearn_curve(clicked, predicted):
    from sklearn.calibration import calibration_curve

    return calibration_curve(clicked, predicted, n_bins=10, strategy="quantile")


def test_equal_predictions_share_a_bin_and_lose_nothing():
    clicked = np.array([True, False, False, True])
    predicted = np.full(4, 0.5)
    table = calibration_table(clicked, predicted)
    assert table.sum(axis=0).tolist() == [4, 2, 2]
    assert calibration_error(clicked, predicted) == 0


def test_intervals_hold_the_value_and_narrow_with_more_users():
    rng = np.random.default_rng(1)

    def width(users: int) -> float:
        predicted = rng.random(3 * users)
        clicked = rng.random(3 * users) < predicted
        found = measure(clicked, predicted, np.repeat(np.arange(users), 3), resamples=200)
        assert found["predicted_over_observed"].low < 1 < found["predicted_over_observed"].high
        for name in ("auc", "gauc", "log_loss", "predicted_over_observed"):
            assert found[name].low < found[name].value < found[name].high, name
        assert found["auc"].value == pytest.approx(sklearn.roc_auc_score(clicked, predicted))
        return found["auc"].high - found["auc"].low

    assert width(2000) < 0.6 * width(200)
