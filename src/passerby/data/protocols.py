"""Protocols: which sources train and which targets are unseen, named for what they do.

Papers number their protocols differently; each protocol here says which number it has where.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from passerby.data.datasets import get_dataset
from passerby.data.datasets.base import Images
from passerby.errors import PasserbyError, nearest

Names = tuple[str, ...]

SOURCE_ONLY = frozenset({"cuhk-sysu"})
"""Datasets that nothing is measured on: CUHK-SYSU has no cameras, and papers only ever train on it."""

FREE = ("free", "one-to-four")
"""Protocols that say nothing of what trains."""
SMALL_TARGETS = ("viper", "prid", "grid", "ilids")
LARGE_TARGETS = ("market1501", "msmt17", "cuhk03")


@dataclass(frozen=True)
class Cell:
    """One training run of a protocol and what it is measured on.

    Attributes:
        sources: what trains.
        targets: what the trained model is measured on.
        held_out: whether the target is a source that was left out, to be split by rule in place of its official query
            and gallery.
    """

    sources: Names
    targets: Names
    held_out: bool = False


@dataclass(frozen=True)
class Protocol:
    """A rule that turns sources and targets into training runs.

    Attributes:
        name: what `--protocol` takes.
        description: what it does.
        numbering: what papers call it.
        plan: makes the cells of sources and targets that are known datasets, none of them twice; either may be empty.
        images: images of a source that the protocol demands; None leaves them to the recipe.
        domains: what is a domain in training: each source, or each camera of the one source.
    """

    name: str
    description: str
    numbering: str
    plan: Callable[[Names, Names], tuple[Cell, ...]]
    images: Images | None = None
    domains: Literal["dataset", "camera"] = "dataset"

    def cells(self, sources: Sequence[str] = (), targets: Sequence[str] = ()) -> tuple[Cell, ...]:
        """The runs that make the protocol, in the order of what varies.

        Args:
            sources: names of datasets, or `name=path`; empty: the papers' sources, where the protocol has them.
            targets: likewise; empty: the papers' targets, or those that the protocol takes from the sources.

        Raises:
            PasserbyError: for a dataset that is unknown, stands twice or is no target, or too little to run.
        """
        for role, specs in (("sources", sources), ("targets", targets)):
            names = [get_dataset(spec).name for spec in specs]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise PasserbyError(f"{self.name}: '{twice}' stands twice in the {role}; name each dataset once")
        for target in targets:
            if target in SOURCE_ONLY:
                raise PasserbyError(
                    f"{self.name}: nothing is measured on {target}, it is a source alone; name another target"
                )
        return self.plan(tuple(sources), tuple(targets))


def _large_to_small(sources: Names, targets: Names) -> tuple[Cell, ...]:
    sources = sources or ("market1501", "dukemtmcreid", "cuhk02", "cuhk03", "cuhk-sysu")
    targets = targets or SMALL_TARGETS
    wrong = [target for target in targets if target not in SMALL_TARGETS]
    if wrong:
        raise PasserbyError(f"large-to-small: {wrong[0]} is no small target; choose from {', '.join(SMALL_TARGETS)}")
    both = [target for target in targets if target in sources]
    if both:
        raise PasserbyError(f"large-to-small: {both[0]} is a source and a target; leave it out of data.sources")
    return (Cell(sources, targets),)


def _leave_one_out(sources: Names, targets: Names) -> tuple[Cell, ...]:
    sources = sources or (*LARGE_TARGETS, "cuhk-sysu")
    targets = targets or tuple(target for target in LARGE_TARGETS if target in sources)
    if not targets:
        raise PasserbyError(
            f"leave-one-out: none of {', '.join(LARGE_TARGETS)} is a source to leave out; name one as target"
        )
    cells = tuple(Cell(_others(sources, target), (target,)) for target in targets)
    empty = next((cell for cell in cells if not cell.sources), None)
    if empty:
        raise PasserbyError(f"leave-one-out: no source is left to train on for {empty.targets[0]}; add to data.sources")
    return cells


def _single_source(sources: Names, targets: Names) -> tuple[Cell, ...]:
    sources = sources or ("market1501", "msmt17", "randperson")
    targets = targets or LARGE_TARGETS
    cells = tuple(Cell((source,), _others(targets, source)) for source in sources)
    empty = next((cell for cell in cells if not cell.targets), None)
    if empty:
        raise PasserbyError(
            f"single-source: {empty.sources[0]} is the only target and the source; name another --targets"
        )
    return cells


def _leave_one_source_out(sources: Names, targets: Names) -> tuple[Cell, ...]:
    if targets:
        raise PasserbyError("leave-one-source-out: takes no targets, its sources take turns; leave out --targets")
    cells = tuple(Cell(_others(sources, s), (s,), held_out=True) for s in sources if s not in SOURCE_ONLY)
    if not cells or not all(cell.sources for cell in cells):
        raise PasserbyError(
            f"leave-one-source-out: {len(sources)} source{'' if len(sources) == 1 else 's'} with people of "
            "their own cannot take turns; set data.sources to at least two"
        )
    return cells


def _free(sources: Names, targets: Names) -> tuple[Cell, ...]:
    for role, names, remedy in (("source", sources, "set data.sources"), ("target", targets, "give --targets")):
        if not names:
            raise PasserbyError(f"protocol: no {role}; {remedy}, as in market1501,cuhk03")
    return (Cell(sources, targets),)


def _others(specs: Names, left_out: str) -> Names:
    """The datasets that show other people than `left_out` does (cuhk03 and cuhk03-labeled, cuhk01 and cuhk02 do not)."""
    dataset = get_dataset(left_out)
    taken = {dataset.domain, *dataset.same_people}
    return tuple(spec for spec in specs if get_dataset(spec).domain not in taken)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "large-to-small",
            "all images of several large sources (Market-1501, DukeMTMC-reID, CUHK02, CUHK03 and CUHK-SYSU unless "
            "others are named); VIPeR, PRID, GRID and i-LIDS unseen, ten splits each",
            "the large-scale benchmark of DIMN (CVPR 2019), MetaBIN (section 4.1) and BNTA (without PRID); Protocol-1 "
            "of LDA, there without DukeMTMC-reID as well; Protocol-2 of ISR",
            _large_to_small,
            images="all",
        ),
        Protocol(
            "leave-one-out",
            "Market-1501, MSMT17 and CUHK03 take turns as the unseen target with official query and gallery, the other "
            "sources train; CUHK-SYSU only ever trains",
            "LDA: Protocol-2 with the sources' training parts (data.images=train), Protocol-3 with all their images; "
            "Protocol-2 of TAL, with RandPerson in the place of CUHK-SYSU; Protocol-1 of ISR, all images, with "
            "DukeMTMC-reID in that place",
            _leave_one_out,
        ),
        Protocol(
            "single-source",
            "one source trains, its cameras are the domains; the other datasets are the unseen targets",
            "Protocol-1 of TAL (Market-1501, MSMT17 or RandPerson trains, training part alone)",
            _single_source,
            domains="camera",
        ),
        Protocol(
            "leave-one-source-out",
            "of the given sources one after the other is left out and becomes the target, by rule: one random image of "
            "each identity and camera is a query, the rest the gallery; chooses hyper-parameters without looking at a "
            "target",
            "no number in the re-ID papers; leave-one-domain-out cross-validation of DomainBed (ICLR 2021)",
            _leave_one_source_out,
        ),
        Protocol(
            "one-to-four",
            "any sources, any targets; a random fifth of all images of a target are queries, the rest the gallery",
            "Table 2 of ISR, on synthetic targets",
            _free,
        ),
        Protocol("free", "any sources, any targets", "none", _free),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        PasserbyError: when there is none, with the nearest one.
    """
    if name not in PROTOCOLS:
        raise PasserbyError(f"no protocol '{name}': {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]
