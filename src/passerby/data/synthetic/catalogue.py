"""The built-in domains: eight places that differ as real data sets do."""

from passerby.data.synthetic.domain import NEUTRAL, Domain
from passerby.data.synthetic.person import Wardrobe
from passerby.data.synthetic.scene import Scene
from passerby.errors import PasserbyError, nearest

_SUMMER = Wardrobe(
    tops=(1.5, 5.0, 2.0, 0.3, 0.3, 0.0, 2.0),
    bottoms=(3.0, 3.0, 1.8, 1.0),
    hats=(6.0, 2.0, 0.0),
    brightness=0.75,
    vividness=0.7,
    prints=0.6,
)
_WINTER = Wardrobe(
    tops=(0.0, 0.1, 0.4, 1.5, 3.0, 5.0, 0.1),
    bottoms=(8.0, 0.0, 0.3, 0.6),
    textures=(8.0, 0.6, 0.3, 0.6, 0.8),
    hats=(5.0, 0.5, 3.0),
    brightness=0.2,
    vividness=0.35,
)
_OFFICE = Wardrobe(
    tops=(0.1, 0.8, 4.0, 0.5, 3.0, 2.0, 1.2),
    bottoms=(6.0, 0.1, 1.5, 0.6),
    textures=(7.0, 0.5, 1.2, 0.8, 0.2),
    hats=(12.0, 0.2, 0.3),
    bags=(3.0, 1.5, 3.0, 2.5),
    brightness=0.4,
    vividness=0.3,
    prints=0.1,
)
_STUDENTS = Wardrobe(
    tops=(0.5, 3.0, 1.2, 4.0, 2.0, 0.5, 0.5),
    bottoms=(6.0, 2.0, 0.8, 0.3),
    hats=(6.0, 1.5, 0.8),
    bags=(2.0, 6.0, 1.5, 0.8),
    brightness=0.5,
    vividness=0.55,
    prints=0.8,
)

_PLACES = (
    Domain(
        "sunny-plaza",
        cameras=5,
        scene=Scene((0.78, 0.72, 0.60), (0.80, 0.70, 0.55), (0.55, 0.75, 0.98), 0.30, -0.12, tiles=0.5, greenery=0.5, signs=0.2),
        wardrobe=_SUMMER,
        gain=1.18,
        gamma=0.95,
        saturation=1.2,
        white=(1.08, 1.0, 0.88),
        ambient=0.30,
        shadow=0.6,
        jpeg=(80.0, 95.0),
        native=(110.0, 180.0),
        viewpoints=(1.5, 1.5, 1.0, 1.0, 1.0),
    ),
    Domain(
        "indoor-mall",
        cameras=6,
        scene=Scene(
            (0.82, 0.80, 0.76), (0.86, 0.82, 0.74), (0.92, 0.90, 0.84), 0.24, -0.3, 0.35, 0.1, 0.5, 0.9, 0.05, 0.4, 0.5, 0.35, 0.0, 0.5
        ),
        wardrobe=Wardrobe(vividness=0.6, bags=(2.5, 1.0, 3.0, 4.0)),
        gain=0.98,
        gamma=1.0,
        saturation=0.95,
        white=(1.14, 1.0, 0.76),
        ambient=0.78,
        shadow=0.15,
        native=(60.0, 100.0),
        noise=0.02,
        jpeg=(45.0, 70.0),
        viewpoints=(1.2, 1.2, 0.5, 1.2, 1.2),
        tilt=(0.25, 0.42),
        misalign=0.03,
        crowd=0.3,
    ),
    Domain(
        "rainy-night",
        cameras=4,
        scene=Scene((0.16, 0.17, 0.20), (0.17, 0.16, 0.18), (0.04, 0.05, 0.09), 0.40, 0.0, 0.15, 0.3, 0.5, 0.5, 0.1, 0.2, 0.4, 0.5, 0.3, 0.9),
        wardrobe=Wardrobe(
            tops=(0.0, 0.5, 1.0, 3.0, 3.0, 4.0, 0.3), hats=(6.0, 1.0, 1.0), brightness=0.35, vividness=0.4, bags=(4.0, 2.0, 2.0, 1.5)
        ),
        gain=0.62,
        gamma=1.12,
        saturation=0.75,
        white=(1.22, 0.98, 0.66),
        ambient=0.38,
        shadow=0.3,
        vignette=0.35,
        defocus=0.8,
        motion=0.8,
        native=(64.0, 110.0),
        noise=0.05,
        jpeg=(45.0, 75.0),
        viewpoints=(1.0, 0.8, 1.6, 0.8, 1.0),
        crowd=0.08,
        rain=0.7,
    ),
    Domain(
        "foggy-campus",
        cameras=3,
        scene=Scene((0.42, 0.46, 0.36), (0.52, 0.40, 0.34), (0.85, 0.87, 0.88), 0.42, 0.1, 0.1, 0.4, 0.4, 0.0, 1.0, 0.1, 0.25, 0.0, 0.1),
        wardrobe=_STUDENTS,
        gain=0.95,
        saturation=0.65,
        white=(0.95, 1.0, 1.05),
        haze=0.42,
        haze_colour=(0.78, 0.82, 0.84),
        ambient=0.85,
        shadow=0.1,
        defocus=0.9,
        native=(80.0, 130.0),
        viewpoints=(1.0, 0.6, 0.4, 1.0, 2.0),
        tilt=(0.03, 0.10),
        fill=(0.76, 0.9),
        misalign=0.03,
    ),
    Domain(
        "underground-station",
        cameras=6,
        scene=Scene((0.34, 0.34, 0.33), (0.62, 0.66, 0.60), (0.30, 0.30, 0.30), 0.18, -0.2, 0.6, 0.2, 0.2, 0.6, 0.0, 0.9, 0.3, 0.3, 0.6, 0.3),
        wardrobe=_OFFICE,
        gain=0.82,
        gamma=1.08,
        saturation=0.7,
        white=(0.86, 1.08, 0.84),
        ambient=0.6,
        shadow=0.2,
        vignette=0.3,
        defocus=0.9,
        motion=0.5,
        native=(40.0, 64.0),
        noise=0.035,
        jpeg=(30.0, 55.0),
        viewpoints=(1.6, 0.8, 0.3, 0.8, 1.6),
        tilt=(0.3, 0.45),
        misalign=0.04,
        occluders=0.2,
        crowd=0.35,
    ),
    Domain(
        "snowy-street",
        cameras=3,
        scene=Scene((0.88, 0.91, 0.96), (0.58, 0.60, 0.66), (0.82, 0.86, 0.92), 0.36, 0.05, 0.0, 0.3, 0.6, 0.05, 0.1, 0.1, 0.5),
        wardrobe=_WINTER,
        gain=1.05,
        gamma=0.9,
        saturation=0.75,
        white=(0.88, 0.98, 1.18),
        haze=0.10,
        haze_colour=(0.86, 0.9, 0.96),
        ambient=0.88,
        shadow=0.12,
        native=(90.0, 140.0),
        noise=0.015,
        viewpoints=(0.6, 1.0, 2.0, 1.0, 0.6),
        snow=0.8,
    ),
    Domain(
        "evening-market",
        cameras=4,
        scene=Scene((0.40, 0.33, 0.27), (0.55, 0.36, 0.24), (0.70, 0.45, 0.38), 0.33, -0.05, 0.2, 0.5, 0.3, 1.0, 0.2, 0.3, 0.9, 0.4, 0.1),
        wardrobe=Wardrobe(brightness=0.6, vividness=0.8, bags=(2.0, 1.0, 3.0, 4.0), bottoms=(4.0, 1.5, 1.0, 2.0)),
        gain=0.88,
        gamma=1.05,
        saturation=1.2,
        white=(1.25, 0.95, 0.70),
        ambient=0.42,
        shadow=0.45,
        defocus=0.6,
        native=(70.0, 120.0),
        noise=0.025,
        jpeg=(60.0, 85.0),
        misalign=0.04,
        occluders=0.3,
        crowd=0.45,
    ),
    Domain(
        "old-parking",
        cameras=2,
        scene=Scene((0.45, 0.45, 0.44), (0.50, 0.50, 0.48), (0.66, 0.68, 0.68), 0.15, -0.1, 0.0, 0.5, 0.1, 0.05, 0.3, 0.1, 0.9, 0.0, 0.8),
        wardrobe=Wardrobe(brightness=0.45, vividness=0.4),
        gain=1.10,
        gamma=0.78,
        saturation=0.3,
        white=(0.95, 1.03, 0.98),
        ambient=0.5,
        shadow=0.4,
        vignette=0.4,
        defocus=1.0,
        native=(32.0, 52.0),
        noise=0.045,
        jpeg=(22.0, 45.0),
        viewpoints=(0.5, 1.0, 2.5, 1.0, 0.5),
        tilt=(0.25, 0.4),
        fill=(0.75, 0.95),
        misalign=0.05,
    ),
)

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (NEUTRAL, *_PLACES)}
"""The built-in domains by name."""


def find_domain(name: str) -> Domain:
    """The built-in domain of that name.

    Raises:
        PasserbyError: when there is none, with the nearest name.
    """
    if name not in DOMAINS:
        raise PasserbyError(f"unknown synthetic domain '{name}': {nearest(name, DOMAINS)}")
    return DOMAINS[name]
