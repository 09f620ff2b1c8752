"""The order in which training images are seen: a function of (seed, epoch) alone, so a run can be taken up anywhere."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from passerby.errors import PasserbyError

Indices = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class BatchSampler(ABC):
    """Batches of image indices, epoch by epoch.

    Attributes:
        batch_size: images in a batch.
        batches: batches in an epoch.
        kept: what decides an epoch beside seed and epoch, if anything does; it is part of a checkpoint.
    """

    batch_size: int
    batches: int

    def __init__(self, seed: int) -> None:
        """`seed` fixes every epoch."""
        self.seed = seed
        self.kept: dict[str, Any] = {}

    @abstractmethod
    def epoch(self, epoch: int) -> Indices:
        """The indices of one epoch, int64 [batches, batch_size]; the same for the same seed and epoch."""

    def generator(self, epoch: int) -> np.random.Generator:
        """The generator from which `epoch` draws."""
        return np.random.default_rng([self.seed, epoch])


class PlainSampler(BatchSampler):
    """Every image once an epoch, in random order; the last incomplete batch is dropped."""

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        """Orders `images` images into batches of `batch_size`.

        Raises:
            PasserbyError: when there are fewer images than a batch holds.
        """
        super().__init__(seed)
        if images < batch_size:
            raise PasserbyError(
                f"data: {images} training images do not fill a batch of {batch_size}; lower the batch or add data"
            )
        self.images, self.batch_size, self.batches = images, batch_size, images // batch_size

    def epoch(self, epoch: int) -> Indices:
        """One random permutation, cut into batches."""
        order = self.generator(epoch).permutation(self.images)
        return order[: self.batches * self.batch_size].reshape(self.batches, self.batch_size)


class IdentityBalancedSampler(BatchSampler):
    """P identities x Q images a batch: every identity once an epoch; one with fewer than Q images repeats some."""

    def __init__(self, identities: Indices, p: int, q: int, seed: int) -> None:
        """Balances a batch over identities.

        Args:
            identities: [N] class of each image, counted from 0 without gaps.
            p: identities a batch.
            q: images an identity.
            seed: fixes the order.

        Raises:
            PasserbyError: when there are fewer than `p` identities.
        """
        super().__init__(seed)
        self.p, self.q, self.batch_size = p, q, p * q
        self.identities = identities
        self.counts = np.bincount(identities)
        self.starts = np.cumsum(self.counts) - self.counts
        self.batches = len(self.counts) // p
        if self.batches == 0:
            raise PasserbyError(
                f"data: {len(self.counts)} identities do not fill a batch of {p}; lower data.identities or add data"
            )

    def epoch(self, epoch: int) -> Indices:
        """P x Q by P x Q, the images of an identity beside each other."""
        rng = self.generator(epoch)
        chosen = self._order(rng)
        return self._images(chosen.reshape(-1), rng).reshape(self.batches, self.batch_size)

    def _order(self, rng: np.random.Generator) -> Indices:
        """Identities of each batch, [batches, P]."""
        return rng.permutation(len(self.counts))[: self.batches * self.p].reshape(self.batches, self.p)

    def _images(self, chosen: Indices, rng: np.random.Generator) -> Indices:
        """Q images of each chosen identity, [len(chosen), Q]; without repetition where the identity has Q.

        An identity that is chosen again within the epoch goes on where it left off in its shuffled images.
        """
        shuffled = np.lexsort((rng.random(len(self.identities)), self.identities))
        offset = self.q * place_in_group(np.argsort(chosen, kind="stable"), chosen)[:, None] + np.arange(self.q)
        return shuffled[self.starts[chosen][:, None] + offset % self.counts[chosen][:, None]]


class DomainBalancedSampler(IdentityBalancedSampler):
    """P / K identities of each of the K domains in every batch; small domains come round more often than large ones."""

    def __init__(self, identities: Indices, domains: Indices, p: int, q: int, seed: int) -> None:
        """Balances a batch over domains and identities.

        Args:
            identities: [N] class of each image.
            domains: [N] domain of each image, counted from 0.
            p: identities a batch, a multiple of the number of domains.
            q: images an identity.
            seed: fixes the order.

        Raises:
            PasserbyError: when `p` does not divide evenly, or a domain has fewer than p / K identities.
        """
        # Where cameras are the domains, a person stands in several: what is balanced are people of a domain.
        classes = int(identities.max()) + 1
        pairs, of_pair = np.unique(domains * classes + identities, return_inverse=True)
        super().__init__(of_pair, p, q, seed)
        self.members = [np.flatnonzero(pairs // classes == k) for k in range(int(domains.max()) + 1)]
        self.share, rest = divmod(p, len(self.members))
        if rest:
            raise PasserbyError(
                f"data: {p} identities a batch do not divide evenly over {len(self.members)} domains; "
                f"set data.identities to {max(1, round(p / len(self.members))) * len(self.members)}"
            )
        for k, members in enumerate(self.members):
            if len(members) < self.share:
                raise PasserbyError(
                    f"data: domain {k} has {len(members)} identities, a domain-balanced batch needs {self.share} of "
                    f"each; lower data.identities"
                )

    def _order(self, rng: np.random.Generator) -> Indices:
        need = self.batches * self.share
        columns = []
        for members in self.members:
            # Whole rounds of share-sized groups, so that no identity stands twice in one batch.
            per_round = len(members) // self.share
            rounds = [
                rng.permutation(members)[: per_round * self.share].reshape(per_round, self.share)
                for _ in range(-(-need // (per_round * self.share)))
            ]
            columns.append(np.concatenate(rounds)[: self.batches])
        # Domains alternate within a batch: a rank's contiguous share of it is balanced too.
        return np.stack(columns, axis=2).reshape(self.batches, self.p)


class BatchStream:
    """The batches of one rank, from any step on: what the trainer iterates over, epoch after epoch.

    Iterating goes to the end of the current epoch. The position is saved with a checkpoint, so a run taken up in
    mid-epoch sees the batches that it would have seen.
    """

    def __init__(self, sampler: BatchSampler, rank: int = 0, world_size: int = 1) -> None:
        """Cuts each batch of `sampler` into `world_size` contiguous shares and yields that of `rank`.

        Raises:
            PasserbyError: when a batch does not divide evenly.
        """
        if sampler.batch_size % world_size:
            raise PasserbyError(f"data: a batch of {sampler.batch_size} does not divide over {world_size} processes")
        self.sampler = sampler
        share = sampler.batch_size // world_size
        self._share = slice(rank * share, (rank + 1) * share)
        self._epoch = -1
        self._batches: Indices = np.empty((0, 0), np.int64)
        self.step = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.sampler.batches

    def __iter__(self) -> Iterator[tuple[int, Indices]]:
        """Yields (step, indices [batch_size / world_size]) up to the end of the epoch."""
        for step in range(self.step, (self.step // len(self) + 1) * len(self)):
            self.step = step + 1
            yield step, self.at(step)

    def at(self, step: int) -> Indices:
        """The indices [batch_size / world_size] of any step of the run."""
        epoch, place = divmod(step, len(self))
        if epoch != self._epoch:
            self._batches, self._epoch = self.sampler.epoch(epoch), epoch
        batch: Indices = self._batches[place, self._share]
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The position, and what the sampler has to keep."""
        return {"step": self.step, **({"sampler": self.sampler.kept} if self.sampler.kept else {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a saved position."""
        self.step = state["step"]
        self.sampler.kept = state.get("sampler", {})


def place_in_group(order: Indices, group: Indices) -> Indices:
    """Place of each element within its group, counted from 0.

    Args:
        order: [N] indices of the elements, group by group.
        group: [N] group of each element.

    Returns:
        int64 [N].
    """
    ordered = group[order]
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(first, np.diff(np.concatenate((first, [len(order)]))))
    return place
