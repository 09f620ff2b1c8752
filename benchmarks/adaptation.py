"""Adapting to a place by BNTA beside embedding its images once, pairing many images, and swapping site profiles.

Goals: adapting on 900 images with 128 pairs at most 2.0 x the time of embedding them (MobileNetV2, 128x64, decoded); pairing 20,000
images of 6 parts of 256 numbers in under 1 GiB; a profile of ResNet-50 on and off in under 20 ms.
"""

import torch
from common import peak_gib, ratio, seconds

from passerby.adaptation import AdaBn, BntaAdaptation, SiteProfile
from passerby.adaptation.base import moving_tensors
from passerby.adaptation.pairing import nearest_part_pairs
from passerby.adaptation.profile import ProfileCard
from passerby.data.images import Preprocessing
from passerby.memory import keep_freed_memory
from passerby.models.model import Architecture, Model

IMAGES, PAIRS = 900, 128


def main() -> None:
    """Prints ratios, memory and milliseconds."""
    pixels = (
        torch.randint(256, (IMAGES, 128, 64, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8).numpy()
    )
    model = Model(
        Architecture(backbone="mobilenetv2_100", norm="dualnorm", stripes=6), Preprocessing(height=128, width=64)
    ).eval()
    for name, adaptation in (("BNTA", BntaAdaptation(pairs=PAIRS)), ("AdaBN", AdaBn())):
        times, bare = ratio(lambda a=adaptation: a.adapt(model, pixels), lambda: model.embed(pixels), repeats=3)
        print(f"{name} on {IMAGES} images: {times:.2f} x embedding them ({bare:.2f} s)")

    parts = torch.nn.functional.normalize(
        torch.randn(20_000, 6, 256, generator=torch.Generator().manual_seed(0)), dim=2
    )
    took: list[float] = []
    peak = peak_gib(lambda: took.append(seconds(lambda: nearest_part_pairs(parts, PAIRS))))
    print(f"pairing 20,000 images: peak {peak:.2f} GiB ({took[0]:.1f} s)")

    large = Model(Architecture(backbone="resnet50"), Preprocessing(height=256, width=128)).eval()
    large.weights_sha256 = "benchmark"
    state = large.state_dict()
    tensors = {name: state[name] + 1 for name in moving_tensors(large, ("mean", "variance", "weight", "bias"))}
    card = ProfileCard(
        model_sha256="benchmark",
        method="bnta",
        settings={},
        images=IMAGES,
        cameras=(),
        seed=0,
        before={},
        after={},
        code_version="",
        date="",
    )
    profile = SiteProfile(card, tensors, None)
    swap = min(seconds(lambda: profile.apply(large).remove()) for _ in range(10))
    print(f"a profile of ResNet-50 on and off: {1000 * swap:.1f} ms")


if __name__ == "__main__":
    keep_freed_memory()
    main()
