"""passerby datasets: what can be read, what is there, and making it."""

from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from passerby.data.datasets import DATASETS, check, get_dataset
from passerby.data.synthetic import DOMAINS, write_market, write_street
from passerby.data.synthetic.catalogue import find_domain
from passerby.errors import PasserbyError


def list_datasets() -> None:
    """Prints name, folder, published counts and reference of every dataset."""
    table = Table("name", "folder under --data-root", "identities", "images", "reference and terms", box=None)
    for name, dataset in DATASETS.items():
        whole = dataset.published.get("all")
        counts = (f"{whole.identities:,}", f"{whole.images:,}") if whole else ("", "")
        table.add_row(name, dataset.folders[0], *counts, dataset.reference)
    Console().print(table)


def check_dataset(name: str, data_root: Path) -> None:
    """Prints counts beside the published ones and names the first files that do not fit."""
    console = Console()
    report = check(get_dataset(name), data_root)
    plain = partial(console.print, markup=False, soft_wrap=True)
    plain(f"{report.title}: {report.folder}\n{report.reference}")
    for warning in report.warnings:
        plain(f"note: {warning}", style="yellow")
    table = Table("part", "identities", "images", "cameras", "distractors", "published", "", box=None)
    for part in report.parts:
        published = part.published
        expected = f"{published.identities:,} / {published.images:,} / {published.cameras or '?'}" if published else "-"
        verdict = {True: "[green]as published[/]", False: "[yellow]differs[/]", None: ""}[part.agrees]
        counts = (part.identities, part.images, part.cameras, part.distractors)
        table.add_row(part.part, *("-" if count is None else f"{count:,}" for count in counts), expected, verdict)
    console.print(table)
    if report.misfits:
        console.print(f"{report.misfits:,} files do not fit the official names; the first:", style="yellow")
        for name in report.first_misfits:
            plain(f"  {name}")


def prepare_dataset(name: str, data_root: Path) -> None:
    """Cuts or extracts the images of a dataset, and says where they are."""
    for folder in get_dataset(name).prepare(data_root):
        print(folder)


def synthesise(out: Path, domains: list[str], identities: int, seed: int) -> None:
    """Draws synthetic domains (all built-in ones when none is named), each in Market-1501's layout under OUT/<domain>."""
    try:
        write_market(out, domains or list(DOMAINS), identities, seed)
    except OSError as error:
        raise PasserbyError(
            f"--out {out}: cannot be written ({error.strerror}); free room there or choose another folder"
        ) from error


def synthesise_video(
    out: Path,
    films: int,
    seed: int,
    *,
    shots: int,
    seconds: float,
    fps: float,
    people: float,
    as_frames: bool,
    targets: list[str],
    identities: int,
) -> None:
    """Draws street scenes, each in MOTChallenge's layout under OUT/street-NN; targets as `synthesise` under OUT/targets."""
    for target in targets:  # told before the films are drawn, which takes long
        if (folder := out / "targets" / find_domain(target).name).exists():
            raise PasserbyError(f"{folder}: is already there; remove it or choose another folder")
    write_street(out, films, seed, shots=shots, seconds=seconds, fps=fps, people=people, as_frames=as_frames)
    if targets:
        synthesise(out / "targets", targets, identities, seed)
    print(f"{films} films: {out}; `passerby ingest {out}/street-* --out SHARDS` makes shards of them")
