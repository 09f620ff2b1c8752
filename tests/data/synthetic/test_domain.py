"""Domains: the built-in ones exist and differ; shifted ones move away from neutral as far as they are told."""

import numpy as np
import pytest

from passerby.data.synthetic import DOMAINS, NEUTRAL, Domain, SyntheticDomain, find_domain, shifted_domain
from passerby.data.synthetic.domain import mix
from passerby.errors import PasserbyError


def look(domain: Domain) -> np.ndarray:
    """Mean and deviation of the channels of some pictures, how colourful they are and how sharp."""
    data = SyntheticDomain(domain, 16, size=(64, 32))
    images = data.render(np.arange(0, len(data), max(1, len(data) // 32))) / 255
    colourful, sharp = np.ptp(images, axis=3).mean(), np.abs(np.diff(images, axis=1)).mean()
    return np.concatenate([images.mean(axis=(0, 1, 2)), images.std(axis=(0, 1, 2)), [colourful, 3 * sharp]])


def test_catalogue() -> None:
    assert len(DOMAINS) >= 7
    for name, domain in DOMAINS.items():
        assert domain.name == name
        assert find_domain(name) is domain
        assert 2 <= domain.cameras <= 6


def test_built_in_domains_look_different() -> None:
    looks = np.stack([look(domain) for domain in DOMAINS.values()])
    apart = np.linalg.norm(looks[:, None] - looks[None], axis=2)[np.triu_indices(len(looks), 1)]
    assert apart.min() > 0.05
    assert np.median(apart) > 0.2


def test_mix_moves_numbers_and_keeps_the_name() -> None:
    end = DOMAINS["rainy-night"]
    assert mix(NEUTRAL, end, 0.0) == NEUTRAL
    half = mix(NEUTRAL, end, 0.5)
    assert half.name == "neutral"
    assert half.gamma == pytest.approx((NEUTRAL.gamma + end.gamma) / 2)
    assert half.scene.wet == pytest.approx((NEUTRAL.scene.wet + end.scene.wet) / 2)
    assert half.wardrobe.tops[5] == pytest.approx((NEUTRAL.wardrobe.tops[5] + end.wardrobe.tops[5]) / 2)
    assert half.cameras == round((NEUTRAL.cameras + end.cameras) / 2)


def test_the_shift_grows_with_the_amount() -> None:
    start = shifted_domain(0.0, 5)
    assert mix(start, start, 0.0) == start
    assert start.gamma == NEUTRAL.gamma
    assert start.scene == NEUTRAL.scene
    for seed in range(20):
        gaps = [abs(np.log(shifted_domain(a, seed).white[0])) for a in (0.0, 0.3, 0.6, 1.0)]
        assert gaps == sorted(gaps)
        assert gaps[-1] > 0.1
    # Rendered with one name, so that the same people pass: only the shift differs.
    moved = [look(mix(NEUTRAL, shifted_domain(1.0, 3), a)) for a in (0.0, 0.35, 0.7, 1.0)]
    gaps = [float(np.linalg.norm(m - moved[0])) for m in moved]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 0.1


def test_shifted_domains_are_seeded() -> None:
    assert shifted_domain(0.5, 1) == shifted_domain(0.5, 1)
    assert shifted_domain(0.5, 1) != shifted_domain(0.5, 2)


def test_bad_domains() -> None:
    with pytest.raises(PasserbyError, match="did you mean 'rainy-night'"):
        find_domain("rany-night")
    with pytest.raises(PasserbyError, match="2 to 9 cameras"):
        Domain("x", cameras=1)
    with pytest.raises(PasserbyError, match="between 0 and 1"):
        shifted_domain(1.5, 0)
    with pytest.raises(PasserbyError, match="at least 0"):
        shifted_domain(0.5, -1)
