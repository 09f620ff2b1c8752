"""Starting a model from the weights of another one, also where norms and heads differ."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from passerby.errors import PasserbyError, first_of
from passerby.models.backbone import Backbone
from passerby.models.model import Model
from passerby.models.norm import DomainNorm2d


@dataclass(frozen=True)
class Inherited:
    """What came of a start from another model.

    Attributes:
        taken: how many tensors were taken over.
        new: layers of the model that start as they are built.
        left: layers of the other one that have no place here.
    """

    taken: int
    new: tuple[str, ...]
    left: tuple[str, ...]


def take_backbone(backbone: Backbone, parent: Model) -> None:
    """Loads the network of another model, with whichever norms, into a backbone as timm builds it, before any surgery.

    The other one may end at an earlier layer, as those with a matcher do.

    Raises:
        PasserbyError: when it is another network; the tensors that do not fit are named.
    """
    theirs = parent.backbone.network.state_dict()
    for name, layer in parent.backbone.network.named_modules():
        if isinstance(layer, DomainNorm2d):
            theirs |= {f"{name}.{key}": value for key, value in _of_all_domains(layer).items()}
    state: dict[str, Tensor] = {}
    misfits = []
    for key, wanted in backbone.network.state_dict().items():
        place, _, leaf = key.rpartition(".")
        # Surgery makes a sequence of timm's norm with an activation in it.
        found = theirs.get(key, theirs.get(f"{place}.norm.{leaf}"))
        if found is None and not parent.backbone.whole:
            state[key] = wanted  # a layer behind the last one that the other model has: it starts anew
        elif found is None or found.shape != wanted.shape:
            misfits.append(key)
        else:
            state[key] = found
    if misfits:
        raise PasserbyError(
            f"--init-from: weights of another model, {parent.architecture.backbone} and not {backbone.name}; {len(misfits)} keys "
            f"do not fit: {first_of(misfits)}"
        )
    backbone.network.load_state_dict(state)


@torch.no_grad()
def _of_all_domains(layer: DomainNorm2d) -> dict[str, Tensor]:
    """What a plain batch norm would hold: statistics of all domains together, their mean affine, [C] each.

    Channels that were instance-normalised have no statistics: 0 and 1.
    """
    mean, variance = layer.bank.pooled()
    weight, bias = (table.mean(0) if table.ndim == 2 else table.detach() for table in (layer.weight, layer.bias))
    if half := layer.instance_channels:
        weight, bias = torch.cat([layer.instance_weight, weight]), torch.cat([layer.instance_bias, bias])
        mean, variance = torch.cat([mean.new_zeros(half), mean]), torch.cat([variance.new_ones(half), variance])
    return {
        "weight": weight,
        "bias": bias,
        "running_mean": mean,
        "running_var": variance,
        "num_batches_tracked": layer.num_batches_tracked.max(),
    }


@torch.no_grad()
def take_rest(model: Model, parent: Model, same_domains: bool = True) -> Inherited:
    """Takes over what else there is under the same name and shape: everything of the same model, else norms within the network.

    Args:
        model: built on a backbone that `take_backbone` loaded.
        parent: the other model.
        same_domains: domain norms of both speak of the same domains in the same order; else those of the network stay as
            `take_backbone` left them, every domain with the statistics of all of the other one's together, and those behind
            it (of a matcher's projections) start anew.
    """
    theirs, ours = parent.state_dict(), model.state_dict()
    alike = {key for key in ours.keys() & theirs.keys() if ours[key].shape == theirs[key].shape}
    whole = len(alike) == len(ours) == len(theirs)
    shared = alike if whole else {key for key in alike if key.startswith("backbone.")}
    if not same_domains:
        layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, DomainNorm2d)}
        shared -= {f"{name}.{key}" for name, layer in layers.items() for key in layer.state_dict()}
    for key in shared:
        ours[key].copy_(theirs[key])
    if model.granularity is not None and not whole:
        model.granularity.take_branches(model.backbone.network)
    renamed = {key.replace(".norm.", ".") for key in theirs if key.startswith("backbone.")}
    here = {key.replace(".norm.", ".") for key in ours}
    # MGN's branches are copies of the network that was taken.
    copied = {key for key in ours if key.startswith("granularity.branches.")}
    new = [key for key in ours if key not in shared | copied and key.replace(".norm.", ".") not in renamed]
    left = [
        key
        for key in theirs
        if key not in shared and not (key.startswith("backbone.") and key.replace(".norm.", ".") in here)
    ]
    return Inherited(len(ours) - len(new), _layers(new), _layers(left))


def _layers(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key.rpartition(".")[0] for key in keys))
