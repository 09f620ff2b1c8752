"""One fit on Lightning's Trainer: checkpoints, resume, loggers, progress."""

import logging
import resource
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from passerby.data.sampling import BatchSampler, BatchStream
from passerby.data.training_set import BatchLoader, TrainingSet
from passerby.data.video.film_loader import FilmLoader
from passerby.data.video.film_set import FilmSet
from passerby.errors import PasserbyError
from passerby.files import atomic_file
from passerby.methods.base import Method
from passerby.models.saved import load_strictly
from passerby.recipes.recipe import TrainerSettings


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written beside their place and renamed: a kill while saving leaves the last one whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes a checkpoint atomically.

        Raises:
            PasserbyError: when a weight is not finite, or it cannot be written whole; the last one is as it was.
        """
        check_finite(checkpoint["state_dict"], checkpoint["global_step"])
        try:
            with atomic_file(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:  # torch's writer raises a RuntimeError when the disk is full
            reason = error.strerror if isinstance(error, OSError) else "the disk is full, or it failed"
            raise PasserbyError(
                f"{path}: the checkpoint cannot be written ({reason}); free room there, then go on with --resume"
            ) from error


@dataclass(frozen=True)
class Cost:
    """Wall time in seconds, and peak memory in MiB (of the GPU where one was used, else of the process)."""

    seconds: float
    peak_mib: float


class TrainingData(L.LightningDataModule):
    """Gives every rank its share of each batch.

    Attributes:
        batches: in what the trainer takes for an epoch.
    """

    def __init__(self, training_set: TrainingSet, sampler: BatchSampler, second: BatchSampler | None = None) -> None:
        """Batches of `training_set` in the order of `sampler`, each with a second one in the order of `second`."""
        super().__init__()
        self.batches = sampler.batches
        self.training_set, self.sampler, self.second = training_set, sampler, second

    def train_dataloader(self) -> BatchLoader:
        """The loader of this rank."""
        assert self.trainer is not None
        rank = self.trainer.global_rank, self.trainer.world_size
        second = None if self.second is None else BatchStream(self.second, *rank)
        return BatchLoader(self.training_set, BatchStream(self.sampler, *rank), second)


class FilmData(L.LightningDataModule):
    """Gives every rank super frames of its own.

    Attributes:
        batches: of the whole run, which the trainer takes for one epoch.
    """

    def __init__(self, film: FilmSet, steps: int) -> None:
        """The super frames of `steps` steps."""
        super().__init__()
        self.film, self.batches = film, steps

    def train_dataloader(self) -> FilmLoader:
        """The loader of this rank."""
        assert self.trainer is not None
        return FilmLoader(self.film, self.batches, self.trainer.global_rank)


def fit(
    method: Method,
    data: TrainingData | FilmData,
    settings: TrainerSettings,
    out: Path,
    device: str,
    checkpoint: Path | None,
    progress: bool,
) -> Cost:
    """Trains `method` for the run's steps.

    Args:
        method: what is trained, in place.
        data: what it is trained on.
        settings: precision, checkpoints.
        out: checkpoints go to out/checkpoints, logs to out/logs.
        device: `auto`, `cpu`, `gpu` or `mps`, which are Lightning's accelerators.
        checkpoint: where to take up the run; None starts it.
        progress: show a progress bar.

    Returns:
        what it cost, earlier parts of a resumed run included.

    Raises:
        PasserbyError: when the checkpoint is damaged or another model's, a new one cannot be written, the weights do not
            stay finite, or the method cannot be compiled.
    """
    if not method.facts.steps:
        return Cost(0.0, _peak_of_process())
    if checkpoint is not None:
        _check(checkpoint, method)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch.*")
    warnings.filterwarnings("ignore", message=".*(lr_scheduler.step|treespec).*")
    if settings.compile and method.not_compiled:
        raise PasserbyError(f"trainer.compile: {method.not_compiled}")
    if settings.compile:
        method.model.backbone.compile()
    callbacks: list[L.Callback] = [
        ModelCheckpoint(
            out / "checkpoints",
            save_last=True,
            save_top_k=0,
            every_n_train_steps=settings.checkpoint_every,
            save_on_exception=False,
            enable_version_counter=False,
        )
    ]
    # Each part of a resumed run logs into a folder of its own: nothing of the earlier parts is lost.
    part = f"part-{len(list((out / 'logs').glob('part-*')))}"
    timer = Timer()
    callbacks.append(timer)
    if progress:
        callbacks.append(RichProgressBar())
    trainer = L.Trainer(
        accelerator=device,
        devices=settings.devices,
        max_steps=method.facts.steps,
        max_epochs=-(-method.facts.steps // data.batches),
        precision=settings.precision,
        gradient_clip_val=settings.gradient_clip,
        deterministic=settings.deterministic,
        callbacks=callbacks,
        logger=[CSVLogger(out, "logs", part, flush_logs_every_n_steps=50), TensorBoardLogger(out, "logs", part)],
        plugins=[AtomicCheckpoints()],
        log_every_n_steps=min(10, method.facts.steps),
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    try:
        trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=False)
    except SystemExit:  # Lightning's answer to Ctrl-C: it exits without a word
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    check_finite(method.state_dict(), method.facts.steps)
    on_gpu = trainer.strategy.root_device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else _peak_of_process()
    return Cost(timer.time_elapsed("train"), peak)


def _peak_of_process() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def check_finite(state: Mapping[str, torch.Tensor], step: int) -> None:
    """Refuses weights that are not finite: a checkpoint or a model of them would be the end of a good one.

    Raises:
        PasserbyError: naming the step and the first such tensor.
    """
    for name, values in state.items():
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise PasserbyError(
                f"training: {name} is not finite after step {step}; nothing of this step is saved. Lower optimizer.lr, or "
                "train in 32-true"
            )


def _check(checkpoint: Path, method: Method) -> None:
    """Refuses a checkpoint that is damaged or not of this method and model, before the trainer stumbles over it."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)["state_dict"]
    except Exception as error:  # what a damaged zip or pickle raises is of many types
        raise PasserbyError(
            f"{checkpoint}: no checkpoint that can be read; remove it to train from the start, or copy it again"
        ) from error
    load_strictly(method, state, checkpoint)
