"""For every place of one image its best place in the other: the response of two maps (Liao & Shao, "QAConv", ECCV 2020)."""

from typing import Any

import torch
from torch import Tensor


def best_responses(query: Tensor, gallery: Tensor, block_bytes: int) -> Tensor:
    """The largest inner product of each place with any place of the other image, for all pairs of images.

    Differentiable: the gradient goes to the pair of places that gave the largest product. Products of all places exist for
    a block of pairs at a time, backwards too.

    Args:
        query: [Q, P, C], contiguous.
        gallery: [G, P, C], contiguous.
        block_bytes: of products at a time (one gallery image at least where a gradient is wanted, else one pair).

    Returns:
        [G, Q, 2, P]: first of each place of the query, then of each place of the gallery image.
    """
    if torch.is_grad_enabled() and (query.requires_grad or gallery.requires_grad):
        result: Tensor = _BestResponses.apply(query, gallery, block_bytes)
        return result
    places = query.shape[1]
    responses = query.new_empty(len(gallery), len(query), 2, places)
    pairs = pairs_at_once(places, query.element_size(), block_bytes)
    rows = gallery_at_once(pairs)
    columns = max(1, pairs // rows)
    memory = query.new_empty(min(rows, len(gallery)) * min(columns, len(query)) * places**2)
    for start in range(0, len(gallery), rows):
        for left in range(0, len(query), columns):
            part = responses[start : start + rows, left : left + columns]
            respond(query[left : left + columns], gallery[start : start + rows], memory, part)
    return responses


def respond(query: Tensor, gallery: Tensor, memory: Tensor, out: Tensor) -> None:
    """Writes the responses of one block into `out` [G, Q, 2, P]; `memory` takes its products, G x Q x P x P numbers."""
    (g, places, channels), q = gallery.shape, len(query)
    products = memory[: g * places * q * places].view(g * places, q * places)
    # Gallery-major: maxima over the gallery's places run along whole rows of memory.
    torch.mm(gallery.view(-1, channels), query.view(-1, channels).T, out=products)
    pairs = products.view(g, places, q, places)
    torch.amax(pairs, 1, out=out[:, :, 0])
    torch.amax(pairs, 3, out=out[:, :, 1].transpose(1, 2))


def pairs_at_once(places: int, element_size: int, block_bytes: int) -> int:
    """Pairs of images whose products of places fit into `block_bytes`; one at least."""
    return max(1, block_bytes // (element_size * places * places))


def gallery_at_once(pairs: int) -> int:
    """Gallery images of a block of so many pairs: up to 16, fewer than queries."""
    return max(1, min(16, int(pairs**0.5)))


class _BestResponses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, gallery: Tensor, block_bytes: int) -> Tensor:
        (g, places, channels), q = gallery.shape, len(query)
        responses = query.new_empty(g, q, 2, places)
        # Where each maximum stands: in the gallery image for a query's place, and the other way round.
        in_gallery = query.new_empty(g, q, places, dtype=torch.int64)
        in_query = query.new_empty(g, places, q, dtype=torch.int64)
        rows = max(1, pairs_at_once(places, query.element_size(), block_bytes) // q)
        flat = query.reshape(-1, channels).T
        for start in range(0, g, rows):
            block = slice(start, start + rows)
            products = (gallery[block].reshape(-1, channels) @ flat).view(-1, places, q, places)
            best, in_gallery[block] = products.max(1)
            responses[block, :, 0] = best
            best, in_query[block] = products.max(3)
            responses[block, :, 1] = best.transpose(1, 2)
        ctx.save_for_backward(query, gallery, in_gallery, in_query)
        ctx.rows = rows
        return responses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, gallery, in_gallery, in_query = ctx.saved_tensors
        (g, places, channels), q = gallery.shape, len(query)
        of_query, of_gallery = torch.zeros_like(query), torch.empty_like(gallery)
        flat = query.reshape(-1, channels)
        for start in range(0, g, ctx.rows):
            block = slice(start, start + ctx.rows)
            part = gradient[block]
            of_products = part.new_zeros(len(part), places, q, places)
            of_products.scatter_(1, in_gallery[block, None], part[:, None, :, 0])
            of_products.scatter_add_(3, in_query[block, ..., None], part[:, :, 1].transpose(1, 2)[..., None])
            of_products = of_products.view(-1, q * places)
            of_gallery[block] = (of_products @ flat).view(-1, places, channels)
            of_query += (of_products.T @ gallery[block].reshape(-1, channels)).view_as(query)
        return of_query, of_gallery, None
