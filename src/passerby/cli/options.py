"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

DataRoot = Annotated[Path, typer.Option(help="Folder that holds the datasets, in torchreid's folder names.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override of a recipe's key, as in data.sources=market1501,cuhk03; may be repeated. `recipes show` names the keys.",
    ),
]
BudgetOption = Annotated[
    Literal["quick", "standard", "full"],
    typer.Option(
        help="quick: 960 base steps, at most 4 images an identity, 128x64. standard: 3,060 steps, at most 8. On film: 60,000 and "
        "200,000 crops. full: the recipe's own."
    ),
]
OnnxSize = Annotated[
    str | None, typer.Option("--size", help="Input of an .onnx file, as in 256x128; by default its graph's or card's.")
]
OnnxMean = Annotated[
    str | None, typer.Option("--mean", help="Mean of its input, as in 0.485,0.456,0.406 (ImageNet's).")
]
OnnxStd = Annotated[
    str | None, typer.Option("--std", help="Deviation of its input, as in 0.229,0.224,0.225 (ImageNet's).")
]
OnnxBgr = Annotated[bool, typer.Option("--bgr", help="The .onnx file wants blue, green, red.")]
UNKNOWN = (
    "How a model with statistics of its training domains (model.norm=domain) looks at images of unknown domain: bank, nearest, "
    "colours, experts, both or mix; by default as it was trained to. TAL: by one of its streams alone, experts or mix."
)
LARGEST_SEED = 2**63 - 1
Device = Annotated[str, typer.Option(help="auto, cpu, gpu or mps.")]


def listed(text: str) -> list[str]:
    """The parts of a comma-separated text, without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]
