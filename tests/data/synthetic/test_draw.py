"""Shapes and figures: they cover what they should, and what is worn shows from where it can be seen."""

from dataclasses import replace

import numpy as np

from passerby.data.synthetic.draw import Light, draw_people
from passerby.data.synthetic.garment import shading, surface_angle
from passerby.data.synthetic.person import Bag, Bottom, Hair, People, Texture, Top, Wardrobe, sample_people
from passerby.data.synthetic.pose import Body, Poses
from passerby.data.synthetic.shapes import Canvas, box, ellipse, everywhere, limb, tube

F = np.float32


def column(value: float, count: int = 1) -> np.ndarray:
    return np.full(count, value, F)


def poses(yaw: list[float]) -> Poses:
    n = len(yaw)
    return Poses(
        np.array(yaw, F),
        column(0.5, n),
        column(0.1, n),
        column(0.1, n),
        column(0.5, n),
        column(0.05, n),
        column(0.9, n),
    )


def light(count: int) -> Light:
    return Light(column(0.0, count), column(0.6, count), column(0.0, count))


def plain_people(count: int) -> People:
    wardrobe = Wardrobe(
        tops=(0, 0, 1, 0, 0, 0, 0), bottoms=(1, 0, 0, 0), textures=(1, 0, 0, 0, 0), bags=(1, 0, 0, 0), hats=(1, 0, 0)
    )
    people = sample_people(wardrobe, np.zeros(count, np.int64), 0)
    return replace(people, hair_kind=np.full(count, Hair.SHORT))


def test_areas_of_shapes() -> None:
    canvas = Canvas(1, (64, 48))
    centre = column(24.0), column(32.0)
    shown = everywhere(1)
    disc = ellipse(canvas, centre, column(9.0), column(9.0), shown)
    assert abs(disc.cover.sum() - np.pi * 81) < 4
    rectangle = box(canvas, centre, column(10.0), column(7.0), column(0.5), shown)
    assert abs(rectangle.cover.sum() - 20 * 14) < 2
    rod = limb(canvas, (column(12.0), column(20.0)), (column(30.0), column(44.0)), column(4.0), column(4.0), shown)
    assert abs(rod.cover.sum() - (30 * 8 + np.pi * 16)) < 4
    straight = tube(canvas, np.full((1, 2), 24, F), np.array([[10, 50]], F), np.array([[5, 10]], F), column(0.0), shown)
    assert abs(straight.cover.sum() - 40 * 15) < 6


def test_a_hidden_shape_paints_nothing() -> None:
    canvas = Canvas(2, (32, 32))
    centre = column(16.0, 2), column(16.0, 2)
    patch = ellipse(canvas, centre, column(6.0, 2), column(6.0, 2), np.array([True, False]))
    canvas.paint(patch, np.ones((2, 3), F))
    assert canvas.alpha[0, 16, 16] == 1
    assert not canvas.rgb[1].any()
    assert not canvas.alpha[1].any()


def test_paint_is_the_over_operator() -> None:
    canvas = Canvas(1, (32, 32))
    patch = ellipse(canvas, (column(16.0), column(16.0)), column(6.3), column(5.2), everywhere(1))
    red, blue = np.array([[0.9, 0.1, 0.1]], F), np.array([[0.1, 0.1, 0.9]], F)
    canvas.paint(patch, red)
    canvas.paint(patch, blue)
    a = patch.cover[0]
    expected = red[0, :, None, None] * a * (1 - a) + blue[0, :, None, None] * a
    np.testing.assert_allclose(canvas.rgb[0][:, *patch.window], expected, atol=1e-6)
    np.testing.assert_allclose(canvas.alpha[0][patch.window], 1 - (1 - a) ** 2, atol=1e-6)


def test_surface_angle_turns_with_the_person() -> None:
    middle = np.zeros((4, 1, 1), F)
    angle = surface_angle(middle, np.array([0, np.pi / 2, np.pi, -np.pi / 2], F))[:, 0, 0]
    # Walking to the right of the picture shows the right side, -pi/2.
    np.testing.assert_allclose(np.abs(angle[[0, 2]]), [0, np.pi], atol=1e-5)
    np.testing.assert_allclose(angle[[1, 3]], [-np.pi / 2, np.pi / 2], atol=1e-5)


def test_light_from_the_right_brightens_the_right() -> None:
    across = np.array([[[-0.8, 0.0, 0.8]]], F)
    lit = shading(across, column(1.0), column(0.3))[0, 0]
    assert lit[2] > lit[1] > lit[0]
    np.testing.assert_allclose(shading(across, column(1.0), column(1.0)), 1.0, rtol=1e-6)


def test_the_projection_knows_left_from_right() -> None:
    body = Body(poses([0.0, np.pi / 2]), column(1.0, 2), (128, 64))
    left, _ = body.place(0.1, 0.2, 0.0)
    ahead, _ = body.place(0.0, 0.2, 0.1)
    axis, _ = body.place(0.0, 0.2, 0.0)
    assert left[0] > axis[0]  # who faces the camera has the left hand at the right of the picture
    assert abs(left[1] - axis[1]) < 1e-3
    assert ahead[1] > axis[1]  # who walks to the right has the nose there


def test_a_figure_has_the_proportions_of_a_person() -> None:
    canvas = draw_people(plain_people(1), poses([0.0]), light(1), (128, 64))
    rows = np.flatnonzero(canvas.alpha[0].max(axis=1) > 0.5)
    columns = np.flatnonzero(canvas.alpha[0].max(axis=0) > 0.5)
    assert 100 <= np.ptp(rows) <= 122  # 0.9 of 128 rows
    assert 0.2 < np.ptp(columns) / np.ptp(rows) < 0.45
    head, chest = (canvas.alpha[0, row] for row in (int(128 * 0.11), int(128 * 0.27)))
    assert chest.sum() > 1.7 * head.sum()


def test_clothes_have_their_colours() -> None:
    people = plain_people(1)
    people = replace(
        people, top=np.array([[0.9, 0.1, 0.1]], F), bottom=np.array([[0.1, 0.1, 0.9]], F), sleeve=column(1.0)
    )
    rgb = draw_people(people, poses([0.0]), light(1), (128, 64)).rgb[0]
    chest, thighs = rgb[:, 40:52, 28:36].mean(axis=(1, 2)), rgb[:, 74:86, 24:40].mean(axis=(1, 2))
    assert chest[0] > 4 * chest[2]
    assert thighs[2] > 4 * thighs[0]


def green(canvas: Canvas) -> np.ndarray:
    """Pixels of each picture that are clearly green."""
    rgb = canvas.rgb
    return ((rgb[:, 1] > 0.35) & (rgb[:, 1] > 2 * rgb[:, 0]) & (rgb[:, 1] > 2 * rgb[:, 2])).sum(axis=(1, 2))


def test_a_backpack_shows_from_behind_and_a_print_from_the_front() -> None:
    people = plain_people(2)
    grey, leaf = np.full((2, 3), 0.5, F), np.tile(np.array([[0.05, 0.9, 0.05]], F), (2, 1))
    people = replace(people, top=grey, bottom=grey, shoes=grey, inner=grey, accent=grey, bag=grey)
    views = poses([0.0, np.pi])
    packed = replace(people, bag=leaf, bag_kind=np.full(2, Bag.BACKPACK))
    front, back = green(draw_people(packed, views, light(2), (128, 64)))
    assert back > 3 * front > 0  # the straps show in front
    printed = replace(
        people, accent=leaf, print_size=np.tile(np.array([[0.6, 0.05]], F), (2, 1)), back_print=np.zeros(2, np.int64)
    )
    front, back = green(draw_people(printed, views, light(2), (128, 64)))
    assert front > 40
    assert back == 0


def test_a_texture_shows_from_everywhere_and_an_open_jacket_from_the_front() -> None:
    people = plain_people(2)
    leaf = np.tile(np.array([[0.05, 0.9, 0.05]], F), (2, 1))
    views = poses([0.0, np.pi])
    hoops = replace(people, accent=leaf, texture=np.full(2, Texture.HOOPS))
    assert (green(draw_people(hoops, views, light(2), (128, 64))) > 60).all()
    jacket = replace(people, inner=leaf, top_kind=np.full(2, Top.JACKET))
    front, back = green(draw_people(jacket, views, light(2), (128, 64)))
    assert front > 40
    assert back == 0


def test_shorts_show_skin_and_trousers_do_not() -> None:
    people = plain_people(2)
    skin = np.tile(np.array([[0.05, 0.9, 0.05]], F), (2, 1))
    people = replace(people, skin=skin, bottom_kind=np.array([Bottom.SHORTS, Bottom.TROUSERS]))
    canvas = draw_people(people, poses([0.0, 0.0]), light(2), (128, 64))
    canvas.rgb[:, :, :100] = 0
    shorts, trousers = green(canvas)
    assert shorts > 40
    assert trousers == 0
