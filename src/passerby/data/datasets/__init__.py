"""Datasets: one file a dataset; what each needs to be found, read and checked."""

from passerby.data.datasets.base import Dataset, Listing, Published
from passerby.data.datasets.check import CheckReport, PartCount, check
from passerby.data.datasets.custom import CustomDataset
from passerby.data.datasets.registry import DATASETS, custom_dataset, get_dataset
from passerby.data.datasets.source import source_samples

__all__ = [
    "DATASETS",
    "CheckReport",
    "CustomDataset",
    "Dataset",
    "Listing",
    "PartCount",
    "Published",
    "check",
    "custom_dataset",
    "get_dataset",
    "source_samples",
]
