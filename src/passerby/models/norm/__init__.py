"""The norm library: one primitive (moments -> one scale and one shift a map), one file a layer; usable on any network."""

from passerby.models.norm.affine import AffineNorm2d
from passerby.models.norm.bank import Bank
from passerby.models.norm.batch import SyncBatchNorm2d
from passerby.models.norm.batch_instance import BatchInstanceNorm2d, InstanceStart, clamp_gates
from passerby.models.norm.domain import DomainAffine, DomainNorm2d
from passerby.models.norm.half_instance import HalfInstanceNorm2d
from passerby.models.norm.instance import InstanceNorm2d
from passerby.models.norm.one_affine import OneAffineBatchInstanceNorm2d
from passerby.models.norm.primitive import normalise
from passerby.models.norm.recolouring import After

__all__ = [
    "AffineNorm2d",
    "After",
    "Bank",
    "BatchInstanceNorm2d",
    "DomainAffine",
    "DomainNorm2d",
    "HalfInstanceNorm2d",
    "InstanceNorm2d",
    "InstanceStart",
    "OneAffineBatchInstanceNorm2d",
    "SyncBatchNorm2d",
    "clamp_gates",
    "normalise",
]
