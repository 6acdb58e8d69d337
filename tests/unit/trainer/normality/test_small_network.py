import numpy as np

from services.trainer.normality.small_network import SmallNetwork, cooled

CHANNELS = 8


def taught(seed: int = 0) -> tuple[SmallNetwork, np.ndarray]:
    """By points inside and outside a ring, which no straight cut parts."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((512, CHANNELS)).astype(np.float32)
    truth = (features[:, :2] ** 2).sum(axis=1) > 1.5
    network = SmallNetwork(CHANNELS, random)
    for step in range(1, 401):
        hidden = network.hidden(features)
        miss = (1 / (1 + np.exp(-network.log_odds(hidden))) - truth).astype(np.float32) / np.float32(len(truth))
        network.descend(features, hidden, miss, cooled(1e-2, step, 400))
    right = (network.log_odds(network.hidden(features)) > 0) == truth
    return network, right


def test_it_learns_what_no_straight_cut_parts() -> None:
    _, right = taught()
    assert right.mean() > 0.9


def test_it_learns_the_same_by_the_same_seed() -> None:
    for one, other in zip(taught()[0].parts, taught()[0].parts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_for_features_that_were_not_standardised_it_is_the_same_network() -> None:
    network, _ = taught()
    random = np.random.default_rng(1)
    centre, scale = random.standard_normal(CHANNELS).astype(np.float32), np.full(CHANNELS, 3, np.float32)
    features = random.standard_normal((20, CHANNELS)).astype(np.float32)
    own = network.log_odds(network.hidden(features))
    as_stored = network.of_unscaled(centre, scale).log_odds((features * scale + centre)[None])[0]
    np.testing.assert_allclose(as_stored, own, rtol=1e-3, atol=1e-3)


def test_the_rate_cools_to_nothing() -> None:
    rates = [cooled(1.0, step, 100) for step in range(1, 101)]
    assert rates == sorted(rates, reverse=True)
    assert 0.99 < rates[0] <= 1
    assert rates[-1] < 1e-12
