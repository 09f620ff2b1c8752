"""Procedural pedestrians: synthetic domains that need no download."""

from passerby.data.synthetic.catalogue import DOMAINS, find_domain
from passerby.data.synthetic.dataset import SyntheticDomain
from passerby.data.synthetic.domain import NEUTRAL, Domain, shifted_domain
from passerby.data.synthetic.market import write_market
from passerby.data.synthetic.sheet import contact_sheet
from passerby.data.synthetic.street import StreetFilm
from passerby.data.synthetic.street_video import write_street

__all__ = [
    "DOMAINS",
    "NEUTRAL",
    "Domain",
    "StreetFilm",
    "SyntheticDomain",
    "contact_sheet",
    "find_domain",
    "shifted_domain",
    "write_market",
    "write_street",
]
