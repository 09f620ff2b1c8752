"""passerby evaluate: a model on targets that took no part in its training."""

import hashlib
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from passerby.adaptation import SiteProfile, parse_adaptation
from passerby.commands.adapted import Fitted, How, fit_to, look_as, parse_unknown, record_name
from passerby.commands.device import torch_device
from passerby.commands.top_k import Matching, named_top_k, parse_top_k
from passerby.commands.unseen import LEFT_OUT, ONE_TO_FOUR, check_protocol, check_unseen
from passerby.commands.warnings import caution, warn
from passerby.data.protocols import get_protocol
from passerby.data.sources import listing_digest
from passerby.errors import PasserbyError
from passerby.evaluation.cascade import MatchedTarget
from passerby.evaluation.measure import Measurement, measure
from passerby.evaluation.records import Record, Trained, summary, write_record
from passerby.evaluation.targets import open_target
from passerby.files import check_writable, sha256, write_text
from passerby.models.load import load, model_folder
from passerby.models.model import Model
from passerby.models.onnx import OnnxCard
from passerby.models.saved import ModelCard, code_version, current_versions, load_card
from passerby.models.unknown import Unknown
from passerby.report.table import console_table


def evaluate(
    model: str | Path,
    data_root: str | Path,
    targets: Sequence[str],
    *,
    protocol: str = "free",
    rerank: bool = False,
    flip: bool = False,
    adapt: str | None = None,
    camera_normalise: bool = False,
    site: str | Path | None = None,
    top_k: str | int | None = None,
    unknown: str | None = None,
    device: str = "auto",
    json_file: str | Path | None = None,
    records_folder: str | Path | None = None,
    report_file: str | Path | None = None,
    introduction: str = "",
    onnx_card: OnnxCard | None = None,
) -> list[Record]:
    """Measures a model on targets, prints the table, and writes what is asked for.

    Args:
        model: a saved model, a run's folder, or an .onnx embedder.
        data_root: folder that holds the datasets.
        targets: names, or `name=path`.
        protocol: recorded, and checked against the model's sources; `leave-one-source-out` makes every target a left-out
            source: one random image of each identity and camera is a query, the rest the gallery; `one-to-four` takes a random
            fifth of all images for queries.
        rerank: k-reciprocal re-ranking.
        flip: average the embeddings of an image and its mirror image.
        adapt: `adabn`, `bnta` or `entropy`, with parameters as `parse_adaptation` reads them: the model adapts to the
            gallery of each split, without labels.
        camera_normalise: normalise the embeddings of each camera, see `AdaptedFeatures`.
        site: a site profile that the model wears; that it was not made from what is measured on is for the caller to see to.
        top_k: gallery images of each query, the best by the embedding, that the model's matcher ranks: a number, `all`, or 0 to rank
            by the embedding alone; None: 200 for a model with a matcher.
        unknown: how a model with domain norms looks at images of unknown domain (`passerby.models.unknown`); None: as its card
            says.
        device: `auto`, `cpu`, `gpu` or `mps`.
        json_file: where the metrics go, as JSON.
        records_folder: where the records go, one file a target.
        report_file: where the HTML report goes.
        introduction: a paragraph for the head of the report.
        onnx_card: what the input of an .onnx embedder looks like; None: what the card beside it or its graph says.

    Returns:
        one record a target.

    Raises:
        PasserbyError: for bad input, and when training and target share a file or a person.
    """
    if not targets:
        raise PasserbyError("--targets: empty; name the datasets to measure on, as in --targets viper,prid")
    if isinstance(targets, str):
        raise PasserbyError(f"targets: the text '{targets}'; give a list, as in ['viper', 'prid']")
    get_protocol(protocol)
    for file in (json_file, report_file):
        check_writable(file)
    model, data_root = Path(model), Path(data_root)
    asked = parse_unknown(unknown)
    how = How(None if adapt is None else parse_adaptation(adapt), camera_normalise, asked)
    if site is not None and (adapt is not None or camera_normalise):
        raise PasserbyError("--site: a profile says how to adapt; leave out --adapt and --camera-normalise")
    profile = None if site is None else SiteProfile.load(site)
    embedder = load(model, torch_device(device), onnx_card)
    own = look_as(embedder, None)
    looked = look_as(embedder, asked)
    named_look = None if asked == own else asked
    matching = parse_top_k(top_k, embedder)
    if isinstance(matching, Matching) and (how.adaptation or how.camera or profile or rerank or flip):
        raise PasserbyError(
            "--top-k: adaptation, camera normalisation, re-ranking and flip averaging work on embeddings; add --top-k 0 to rank "
            "by these alone"
        )
    card = None if model.suffix == ".onnx" else load_card(model_folder(model))
    check_protocol(protocol, card, targets)
    warn(targets)
    opened = [
        open_target(spec, data_root, held_out=protocol == LEFT_OUT, one_in_five=protocol == ONE_TO_FOUR)
        for spec in targets
    ]
    names = [target.name for target in opened]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PasserbyError(f"--targets: '{twice}' stands there twice; name each target once")
    console = Console()
    if card is not None:
        check_unseen(card, data_root, opened, console)
    records, measurements = [], []
    for target in opened:
        started = time.perf_counter()
        if matching is None:
            fitted, scores = fit_to(embedder, target, profile or how, flip, console.is_terminal), None
        else:
            matched = MatchedTarget(matching.model, target, matching.k, console.is_terminal)
            fitted, scores = Fitted(matched.features), matched.scores
        measurement = measure(target, fitted.features, scores=scores, reranked=rerank, progress=console.is_terminal)
        seconds = time.perf_counter() - started
        if target.note:
            caution(f"{target.name}: {target.note}", console)
        records.append(_record(model, card, measurement, protocol, flip, fitted, matching, looked, seconds))
        measurements.append(measurement)
        if records_folder is not None:
            write_record(
                Path(records_folder) / record_name(target.name, fitted.adapted, named_look, named_top_k(top_k)),
                records[-1],
            )
    console.print(console_table(records))
    if json_file is not None:
        write_text(Path(json_file), json.dumps(summary(records), indent=1) + "\n")
    if report_file is not None:
        from passerby.report.bank import bank_cards
        from passerby.report.gates import gate_cards
        from passerby.report.html import write_report
        from passerby.report.matches import match_cards
        from passerby.report.pairs import curve_cards

        run = model_folder(model).parent if card is not None else None
        pictures = []
        if isinstance(embedder, Model):
            pictures += [*gate_cards(embedder, run), *bank_cards(embedder, _domains(card))]
        if matching is not None:
            pictures += match_cards(matching.model, measurements, _domains(card))
        if run is not None:
            pictures += curve_cards(run)
        write_report(
            Path(report_file),
            f"{model.name} on {', '.join(t.name for t in opened)}",
            records,
            measurements,
            introduction,
            pictures,
        )
        console.print(f"report: {report_file}")
    return records


def _record(
    model: Path,
    card: ModelCard | None,
    measurement: Measurement,
    protocol: str,
    flip: bool,
    fitted: Fitted,
    matching: Matching | None,
    looked: Unknown | None,
    seconds: float,
) -> Record:
    target = measurement.target
    return Record(
        protocol=protocol,
        target=target.name,
        domain=target.domain,
        split_id=target.split_id,
        direction=target.direction,
        splits=len(target.splits),
        queries=sum(int(o.ranking.matched.sum()) for o in measurement.outcomes),
        gallery=sum(len(split.gallery) for split in target.splits),
        target_listing_sha256=listing_digest(target.samples),
        metrics=measurement.metrics(),
        matcher="cosine" if matching is None else matching.name,
        matched=None if matching is None else matching.k,
        reranked=measurement.reranked,
        flip_averaged=flip,
        adapted=fitted.adapted,
        adapted_images=fitted.images,
        unknown=looked,
        model=model.stem if card is None else model.resolve().name,
        weights_sha256=card.weights_sha256 if card else sha256(model),
        training=None if card is None else _trained(card),
        code_version=code_version(),
        machine=f"{platform.system()} {platform.machine()}, torch {current_versions()['torch']}",
        seconds=seconds,
    )


def _trained(card: ModelCard) -> Trained:
    return Trained(
        recipe=card.recipe_name,
        recipe_sha256=_digest(card.recipe),
        # The sources stand below by name; what --set said may hold paths of this machine.
        overrides=tuple(o for o in card.overrides if not o.startswith(("data.sources=", "data.shards="))),
        budget=card.budget,
        seed=card.seed,
        steps=card.steps,
        sources=tuple(t.domain for t in card.trained_on),
        source_listing_sha256=tuple(t.listing_sha256 for t in card.trained_on),
        started_from=tuple(ancestor.recipe_name for ancestor in card.ancestors),
        seconds=card.seconds,
        peak_mib=card.peak_mib,
    )


def _domains(card: ModelCard | None) -> list[str]:
    """Names of the domains whose statistics a model has, as far as its card tells them."""
    return list(card.domains) if card else []


def _digest(recipe: dict[str, Any]) -> str:
    """Of the recipe without its sources and shards, which a record names by themselves."""
    data = {key: value for key, value in recipe.get("data", {}).items() if key not in ("sources", "shards")}
    rest = {**recipe, "data": data}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
