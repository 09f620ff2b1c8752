"""One fit on Lightning's Trainer: checkpoints, resume, loggers, progress."""

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from passerby.data.sampling import BatchSampler, BatchStream
from passerby.data.training_set import BatchLoader, TrainingSet
from passerby.files import atomic_file
from passerby.methods.base import Method
from passerby.recipes.recipe import TrainerSettings


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written beside their place and renamed: a kill while saving leaves the last one whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes a checkpoint atomically."""
        with atomic_file(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class TrainingData(L.LightningDataModule):
    """Gives every rank its share of each batch."""

    def __init__(self, training_set: TrainingSet, sampler: BatchSampler) -> None:
        """Batches of `training_set` in the order of `sampler`."""
        super().__init__()
        self.training_set, self.sampler = training_set, sampler

    def train_dataloader(self) -> BatchLoader:
        """The loader of this rank."""
        assert self.trainer is not None
        return BatchLoader(self.training_set, BatchStream(self.sampler, self.trainer.global_rank, self.trainer.world_size))


def fit(
    method: Method,
    data: TrainingData,
    settings: TrainerSettings,
    out: Path,
    device: str,
    checkpoint: Path | None,
    progress: bool,
) -> None:
    """Trains `method` for the run's steps.

    Args:
        method: what is trained, in place.
        data: what it is trained on.
        settings: precision, checkpoints.
        out: checkpoints go to out/checkpoints, logs to out/logs.
        device: `auto`, or an accelerator of Lightning's (`cpu`, `gpu`, `mps`).
        checkpoint: where to take up the run; None starts it.
        progress: show a progress bar.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch.*")
    warnings.filterwarnings("ignore", message=".*(lr_scheduler.step|treespec).*")
    if settings.compile:
        method.model.backbone.compile()
    callbacks: list[L.Callback] = [
        ModelCheckpoint(
            out / "checkpoints", save_last=True, save_top_k=0, every_n_train_steps=settings.checkpoint_every, save_on_exception=False
        )
    ]
    if progress:
        callbacks.append(RichProgressBar())
    trainer = L.Trainer(
        accelerator=device,
        max_steps=method.facts.steps,
        max_epochs=-1,
        precision=settings.precision,
        gradient_clip_val=settings.gradient_clip,
        deterministic=settings.deterministic,
        callbacks=callbacks,
        logger=[CSVLogger(out, "logs", version="", flush_logs_every_n_steps=50), TensorBoardLogger(out, "logs", version="")],
        plugins=[AtomicCheckpoints()],
        log_every_n_steps=10,
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=False)
