"""Contact sheets: what the synthetic domains look like, for people to look at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from passerby.data.synthetic.dataset import SyntheticDomain
from passerby.data.synthetic.domain import Domain
from passerby.errors import PasserbyError

_GAP = 4


def contact_sheet(
    domains: Sequence[Domain | str],
    people: int = 4,
    pictures: int = 4,
    seed: int = 0,
    size: tuple[int, int] = (128, 64),
) -> Image.Image:
    """One row a domain: some people, side by side, each in a few pictures of different cameras where there are any.

    Args:
        domains: domains, or names of built-in ones.
        people: identities of a domain.
        pictures: of each identity.
        seed: of the data set.
        size: height and width of a picture, pixels.

    Raises:
        PasserbyError: when nothing is asked for, or a domain is unknown.
    """
    if not domains or people < 1 or pictures < 1:
        raise PasserbyError(
            f"contact sheet of {len(domains)} domains, {people} people, {pictures} pictures: each must be at least 1"
        )
    height, width = size
    title = 14
    row_height = height + title + _GAP
    person_width = pictures * width + 2 * _GAP
    sheet = Image.new("RGB", (people * person_width, len(domains) * row_height), "white")
    pen = ImageDraw.Draw(sheet)
    for row, domain in enumerate(domains):
        data = SyntheticDomain(domain, people, images_per_camera=pictures, seed=seed, size=size)
        pen.text((2, row * row_height + 1), data.domain.name, fill="black")
        for person in range(people):
            own = np.flatnonzero(data.identity == person).reshape(-1, pictures)  # [cameras, shots]
            # Walk along the cameras first, so that views differ as much as they can.
            chosen = own.T.reshape(-1)[:pictures]
            for k, image in enumerate(data.render(chosen)):
                sheet.paste(Image.fromarray(image), (person * person_width + k * width, row * row_height + title))
    return sheet
