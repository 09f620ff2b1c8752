"""Features of many images in half precision, in memory while they fit there."""

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from passerby.errors import PasserbyError

IN_MEMORY = 2**30
"""Bytes up to which features stay in memory."""


def half_rows(rows: int, width: int, folder: Path, in_memory: int = IN_MEMORY) -> Tensor:
    """An empty float16 [rows, width], in memory or, where it would take more than `in_memory` bytes, in a file mapped into it.

    The file has no name any more when it is handed out: it is gone with the tensor, after a kill too.

    Args:
        rows: N.
        width: F.
        folder: where the file lives.
        in_memory: bytes.

    Raises:
        PasserbyError: when the file cannot be made, for want of room say.
    """
    size = 2 * rows * width
    if size <= in_memory:
        return torch.empty(rows, width, dtype=torch.float16)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".maps.") as stream:
            # A file with holes would end in a bus error when the disk is full.
            os.posix_fallocate(stream.fileno(), 0, size)
            flat = torch.from_file(stream.name, shared=True, size=rows * width, dtype=torch.float16)
    except OSError as error:
        raise PasserbyError(
            f"{folder}: cannot take the maps of {rows} images, {size / 2**20:,.0f} MiB ({error.strerror}); make room, or set "
            "PASSERBY_CACHE to a folder with room"
        ) from error
    return flat.view(rows, width)
