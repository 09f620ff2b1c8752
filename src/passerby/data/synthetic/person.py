"""Who walks by: an identity is what a person is made of, wears and carries."""

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self

import numpy as np

from passerby.data.synthetic.draws import Draws, Floats, Ints


class Top(IntEnum):
    """What is worn above."""

    TANK = 0
    TSHIRT = 1
    SHIRT = 2
    HOODIE = 3
    JACKET = 4  # open over a shirt
    COAT = 5
    DRESS = 6


class Bottom(IntEnum):
    """What is worn below."""

    TROUSERS = 0
    SHORTS = 1
    SKIRT = 2
    LONG_SKIRT = 3


class Texture(IntEnum):
    """The weave of the upper garment."""

    PLAIN = 0
    HOOPS = 1  # horizontal stripes
    PINSTRIPES = 2  # vertical stripes
    CHECKS = 3
    BLOCK = 4  # chest in one colour, belly in another


class Hair(IntEnum):
    """How hair is worn."""

    BALD = 0
    SHORT = 1
    MEDIUM = 2
    LONG = 3
    PONYTAIL = 4
    BUN = 5


class Hat(IntEnum):
    """What is on the head."""

    NONE = 0
    CAP = 1
    BEANIE = 2


class Bag(IntEnum):
    """What is carried."""

    NONE = 0
    BACKPACK = 1
    SHOULDER = 2
    HANDHELD = 3


@dataclass(frozen=True)
class Wardrobe:
    """What the people of a place tend to wear: weights in the order of the enumerations above.

    Attributes:
        tops: 7 weights.
        bottoms: 4 weights.
        textures: 5 weights.
        hats: 3 weights.
        bags: 4 weights.
        brightness: from 0 (black and navy) to 1 (white and pastel).
        vividness: from 0 (greys) to 1 (strong colours).
        prints: probability of a print on the chest of a T-shirt or hoodie.
    """

    tops: tuple[float, ...] = (0.3, 2.0, 2.0, 1.5, 2.0, 1.0, 0.8)
    bottoms: tuple[float, ...] = (6.0, 1.2, 1.0, 0.6)
    textures: tuple[float, ...] = (6.0, 1.2, 0.5, 1.0, 0.8)
    hats: tuple[float, ...] = (8.0, 1.0, 0.6)
    bags: tuple[float, ...] = (4.0, 2.5, 2.0, 1.5)
    brightness: float = 0.5
    vividness: float = 0.5
    prints: float = 0.5


# Reflectance of common cloth (red, green, blue) and how common it is.
_CLOTH = np.array(
    [
        (0.05, 0.05, 0.06, 9.0),  # black
        (0.13, 0.13, 0.15, 5.0),  # charcoal
        (0.10, 0.13, 0.24, 6.0),  # navy
        (0.22, 0.31, 0.46, 5.0),  # denim
        (0.45, 0.56, 0.68, 2.5),  # pale denim
        (0.42, 0.43, 0.44, 4.0),  # grey
        (0.66, 0.66, 0.66, 3.0),  # light grey
        (0.92, 0.92, 0.90, 6.0),  # white
        (0.80, 0.72, 0.57, 2.5),  # beige
        (0.56, 0.45, 0.31, 2.0),  # khaki
        (0.33, 0.21, 0.14, 2.0),  # brown
        (0.27, 0.31, 0.18, 1.8),  # olive
        (0.11, 0.30, 0.20, 1.3),  # dark green
        (0.24, 0.58, 0.34, 1.0),  # green
        (0.12, 0.30, 0.68, 2.0),  # blue
        (0.38, 0.64, 0.86, 1.6),  # sky
        (0.10, 0.48, 0.52, 1.0),  # teal
        (0.40, 0.08, 0.14, 1.6),  # burgundy
        (0.78, 0.12, 0.14, 2.0),  # red
        (0.88, 0.42, 0.16, 1.0),  # orange
        (0.93, 0.78, 0.22, 1.1),  # yellow
        (0.92, 0.62, 0.70, 1.3),  # pink
        (0.78, 0.22, 0.50, 0.8),  # magenta
        (0.40, 0.24, 0.54, 1.0),  # purple
    ],
    np.float32,
)
_SKIN = np.array(
    [(0.93, 0.76, 0.66), (0.86, 0.66, 0.53), (0.72, 0.52, 0.38), (0.52, 0.35, 0.24), (0.33, 0.22, 0.16)], np.float32
)
_HAIR = np.array(
    [(0.06, 0.05, 0.05), (0.15, 0.10, 0.07), (0.32, 0.20, 0.12), (0.62, 0.48, 0.28), (0.55, 0.54, 0.53)], np.float32
)


@dataclass(frozen=True)
class People:
    """Identities as columns, one row a person; colours are reflectances [P, 3] in 0..1.

    Attributes:
        stature: [P] body height over the average.
        girth: [P] width over that of a slim body.
        curve: [P] from 0 (broad shoulders) to 1 (broad hips).
        skin, hair, hat, top, accent, inner, bottom, shoes, bag: colours; `accent` is the texture's and the print's,
            `inner` the shirt below an open jacket.
        top_kind, bottom_kind, texture, hair_kind, hat_kind, bag_kind: [P] values of the enumerations.
        pitch: [P] stripes of the texture from neck to hip.
        sleeve: [P] how much of the arm is covered, 0..1.
        print_size: [P, 2] half angle (radians) and half height (body heights) of the chest print; 0 for none.
        back_print: [P] true where the print is on the back as well.
        hem: [P] lower edge of the upper garment, in body heights from the top of the head.
        cut: [P] width of the trouser leg over the leg's.
        side: [P] -1 or 1, the side on which a bag hangs (1: the person's left).
    """

    stature: Floats
    girth: Floats
    curve: Floats
    skin: Floats
    hair: Floats
    hat: Floats
    top: Floats
    accent: Floats
    inner: Floats
    bottom: Floats
    shoes: Floats
    bag: Floats
    top_kind: Ints
    bottom_kind: Ints
    texture: Ints
    hair_kind: Ints
    hat_kind: Ints
    bag_kind: Ints
    pitch: Floats
    sleeve: Floats
    print_size: Floats
    back_print: Ints
    hem: Floats
    cut: Floats
    side: Floats

    def take(self, rows: Ints) -> Self:
        """The people of the given rows, in that order; a row may come more than once."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def __len__(self) -> int:
        return len(self.stature)


def sample_people(wardrobe: Wardrobe, index: Ints, seed: int, label: str = "person") -> People:
    """Draws identities; person i of a seed is the same however many are drawn.

    Args:
        wardrobe: what people wear here.
        index: [P] numbers of the people.
        seed: of the data set.
        label: stream of random numbers; another one gives other people.
    """
    draws = Draws(seed, label, index)
    curvy = draws.chance(0.5)
    top_weights = np.where(curvy[:, None], wardrobe.tops, np.array(wardrobe.tops) * [1, 1, 1, 1, 1, 1, 0])
    bottom_weights = np.where(curvy[:, None], wardrobe.bottoms, np.array(wardrobe.bottoms) * [1, 1, 0, 0])
    top_kind, bottom_kind = draws.choice(top_weights), draws.choice(bottom_weights)
    # Under a dress legs are bare more often than not.
    bottom_kind = np.where((top_kind == Top.DRESS) & draws.chance(0.7), Bottom.SKIRT, bottom_kind).astype(np.int64)
    texture = np.where(top_kind == Top.COAT, Texture.PLAIN, draws.choice(wardrobe.textures)).astype(np.int64)
    hair_kind = draws.choice(np.where(curvy[:, None], [0, 0.6, 2, 3, 2, 1], [0.8, 6, 0.7, 0.15, 0.15, 0]))
    printed = draws.chance(wardrobe.prints) & np.isin(top_kind, (Top.TSHIRT, Top.HOODIE)) & (texture == Texture.PLAIN)
    print_size = np.stack([draws.uniform(0.25, 0.75), draws.uniform(0.018, 0.06)], axis=1) * printed[:, None]
    hem_low = np.array([0.49, 0.48, 0.48, 0.49, 0.48, 0.60, 0.66], np.float32)[top_kind]
    hem_high = np.array([0.52, 0.54, 0.54, 0.53, 0.53, 0.80, 0.78], np.float32)[top_kind]
    sleeve_low = np.array([0.0, 0.2, 0.45, 0.95, 0.95, 0.95, 0.0], np.float32)[top_kind]
    sleeve_high = np.array([0.0, 0.32, 1.0, 0.95, 0.95, 0.95, 0.6], np.float32)[top_kind]
    top = _cloth(draws, wardrobe)
    accent = _cloth(draws, wardrobe)
    # A texture that cannot be seen is no texture: push an accent too like its ground away from it.
    like = np.abs(accent - top).sum(axis=1) < 0.45
    accent = np.where(like[:, None], np.where(top.mean(axis=1, keepdims=True) < 0.45, 0.88, 0.10), accent)
    return People(
        stature=1 + draws.normal(0.035).clip(-0.09, 0.09),
        girth=1.12 + draws.normal(0.10).clip(-0.18, 0.30),
        curve=np.where(curvy, draws.uniform(0.55, 1), draws.uniform(0, 0.45)),
        skin=_SKIN[draws.choice([4, 4, 3, 2, 1.5])] * draws.uniform(0.92, 1.05)[:, None],
        hair=_HAIR[draws.choice([5, 4, 2.5, 1.5, 1])] * draws.uniform(0.8, 1.25)[:, None],
        hat=_cloth(draws, wardrobe),
        top=top,
        accent=accent.astype(np.float32),
        inner=_cloth(draws, wardrobe, brighter=0.25),
        bottom=_cloth(draws, wardrobe, brighter=-0.25, duller=0.35),
        shoes=_cloth(draws, wardrobe, duller=0.15),
        bag=_cloth(draws, wardrobe, brighter=-0.2),
        top_kind=top_kind,
        bottom_kind=bottom_kind,
        texture=texture,
        hair_kind=hair_kind,
        hat_kind=draws.choice(wardrobe.hats),
        bag_kind=draws.choice(wardrobe.bags),
        pitch=draws.uniform(3.5, 8.5),
        sleeve=draws.uniform(sleeve_low, sleeve_high),
        print_size=print_size.astype(np.float32),
        back_print=draws.chance(0.4).astype(np.int64),
        hem=draws.uniform(hem_low, hem_high),
        cut=draws.uniform(0.95, 1.35),
        side=np.where(draws.chance(0.5), 1, -1).astype(np.float32),
    )


def _cloth(draws: Draws, wardrobe: Wardrobe, brighter: float = 0.0, duller: float = 0.0) -> Floats:
    """[P, 3] colours of one garment: common cloth, weighted by the wardrobe's taste, each piece dyed a little apart."""
    colour, common = _CLOTH[:, :3], _CLOTH[:, 3]
    light = colour.mean(axis=1) - 0.4
    vivid = np.ptp(colour, axis=1) - 0.25
    taste = 4 * (wardrobe.brightness - 0.5 + brighter) * light + 5 * (wardrobe.vividness - 0.5 - duller) * vivid
    picked = colour[draws.choice(common * np.exp(taste))]
    tint = np.stack([draws.normal(0.025) for _ in range(3)], axis=1)
    dyed = picked * (1 + draws.normal(0.10))[:, None] + tint
    return dyed.clip(0.03, 0.96).astype(np.float32)
