"""Identities: seeded, persistent, as various as asked, dressed as the wardrobe says."""

from dataclasses import fields

import numpy as np

from passerby.data.synthetic.person import Bag, Bottom, Top, Wardrobe, sample_people


def test_person_i_is_the_same_among_few_and_many() -> None:
    few, many = (
        sample_people(Wardrobe(), np.arange(5), 7),
        sample_people(Wardrobe(), np.arange(300), 7).take(np.arange(5)),
    )
    for f in fields(few):
        np.testing.assert_array_equal(getattr(few, f.name), getattr(many, f.name), err_msg=f.name)


def test_thousands_of_people_and_no_two_alike() -> None:
    people = sample_people(Wardrobe(), np.arange(3000), 0)
    look = np.concatenate([people.top, people.bottom, people.bag, people.skin], axis=1)
    assert len(np.unique(look.round(2), axis=0)) == 3000
    other = sample_people(Wardrobe(), np.arange(3000), 1)
    assert (np.abs(people.top - other.top).max(axis=1) > 0).mean() > 0.99


def test_colours_are_reflectances() -> None:
    people = sample_people(Wardrobe(), np.arange(500), 0)
    for name in ("skin", "hair", "hat", "top", "accent", "inner", "bottom", "shoes", "bag"):
        colour = getattr(people, name)
        assert colour.shape == (500, 3)
        assert colour.dtype == np.float32
        assert colour.min() >= 0
        assert colour.max() <= 1


def test_the_wardrobe_rules() -> None:
    coats = Wardrobe(tops=(0, 0, 0, 0, 0, 1, 0), bottoms=(1, 0, 0, 0), bags=(0, 1, 0, 0))
    people = sample_people(coats, np.arange(100), 0)
    assert set(people.top_kind) == {Top.COAT}
    assert set(people.bottom_kind) == {Bottom.TROUSERS}
    assert set(people.bag_kind) == {Bag.BACKPACK}
    assert people.hem.min() >= 0.60
    dark = sample_people(Wardrobe(brightness=0.0), np.arange(2000), 0).top.mean()
    bright = sample_people(Wardrobe(brightness=1.0), np.arange(2000), 0).top.mean()
    assert bright > dark + 0.2
    grey = np.ptp(sample_people(Wardrobe(vividness=0.0), np.arange(2000), 0).top, axis=1).mean()
    vivid = np.ptp(sample_people(Wardrobe(vividness=1.0), np.arange(2000), 0).top, axis=1).mean()
    assert vivid > grey + 0.15
