"""One file a paper. A new method is one file here and one line in `METHODS`."""

from passerby.errors import PasserbyError, nearest
from passerby.methods.base import Method
from passerby.methods.baseline import Baseline
from passerby.methods.bnta import Bnta
from passerby.methods.cycas import Cycas
from passerby.methods.isr import Isr
from passerby.methods.lda import Lda
from passerby.methods.metabin import MetaBin
from passerby.methods.mgn import Mgn
from passerby.methods.mldg import Mldg
from passerby.methods.moco import Moco
from passerby.methods.qaconv import QaConv
from passerby.methods.tal import Tal

METHODS: dict[str, type[Method]] = {
    "baseline": Baseline,
    "bnta": Bnta,
    "cycas": Cycas,
    "isr": Isr,
    "lda": Lda,
    "metabin": MetaBin,
    "mgn": Mgn,
    "mldg": Mldg,
    "moco": Moco,
    "qaconv": QaConv,
    "tal": Tal,
}


def get_method(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        PasserbyError: when there is none; the nearest is named.
    """
    if name not in METHODS:
        raise PasserbyError(f"method.name: no method '{name}'; {nearest(name, METHODS)}")
    return METHODS[name]
