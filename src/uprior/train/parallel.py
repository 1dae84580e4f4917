"""A model on many processes: whole in each (DDP), or in slices (FSDP2).

DDP (Li et al. 2020): every process holds the weights, gradients are averaged while they are computed. FSDP2
(``fully_shard``): every process holds a slice of each tensor; a block's weights are gathered when it is their turn.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn

from uprior.errors import SpecError
from uprior.train.distributed import ALONE, Group
from uprior.train.scorer import Scorer

Score = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
WAYS = ("auto", "ddp", "fsdp")
# float32 weight, gradient and AdamW's two averages.
BYTES_PER_PARAMETER = 16


def check_way(parallel: str) -> None:
    """SpecError unless ``parallel`` is one of WAYS."""
    if parallel not in WAYS:
        raise SpecError(f"parallel = {parallel!r} is not allowed; allowed: {', '.join(WAYS)}")


def resolve(parallel: str, model: nn.Module, group: Group, where: torch.device) -> str:
    """``none`` for one process; ``auto`` is ``fsdp`` where weights, gradients and optimiser fill half of a GPU, else ``ddp``."""
    check_way(parallel)
    if group.size == 1:
        return "none"
    if parallel != "auto":
        return parallel
    if where.type != "cuda":
        return "ddp"
    needed = BYTES_PER_PARAMETER * sum(p.numel() for p in model.parameters())
    memory = torch.cuda.get_device_properties(where).total_memory
    return "fsdp" if needed > memory / 2 else "ddp"


def blocks(model: nn.Module) -> list[nn.Module]:
    """The layers of a transformer of any family: the longest ``ModuleList`` of modules of one class; none if there is none.

    Lists inside lists (the experts of a layer) do not count: processes may not run the same of them.
    """
    lists = [list(found) for found in _outer_lists(model) if len({type(block) for block in found}) == 1]
    return max(lists, key=len, default=[])


def _outer_lists(module: nn.Module) -> Iterator[nn.ModuleList]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _outer_lists(child)


@dataclass(frozen=True)
class Spread:
    """A model as the processes of a group train it: made by ``spread_over``.

    model   with the parameters that this process trains: the ones given, or (fsdp) its slices, under the same names
    score   (ids [B, T], scored [B, T]) -> loss and nats, as ``Scorer`` does
    way     "none", "ddp" or "fsdp"
    """

    model: Any
    score: Score
    where: torch.device
    group: Group = ALONE
    way: str = "none"

    @contextlib.contextmanager
    def backward(self, *, last: bool) -> Iterator[None]:
        """Around forward and backward pass of a micro-batch: gradients travel with the ``last`` of a step, and only then."""
        if self.way == "fsdp":
            self.model.set_requires_gradient_sync(last)
            self.model.set_is_last_backward(last)
        with self.score.no_sync() if self.way == "ddp" and not last else contextlib.nullcontext():  # type: ignore[attr-defined]
            yield

    def clip(self, limit: float) -> float:
        """Scale the gradients to a global norm (over all processes) of at most ``limit``; the norm before."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def evaluate(self, evaluate: Callable[[Any, int], list[dict[str, Any]]], step: int) -> list[dict[str, Any]]:
        """The records of ``evaluate(model, step)``, run by the first process, or by all in step where none has all weights."""
        if self.way != "fsdp":
            records = self.group.first(lambda: evaluate(self.model, step))
        else:
            records = self.group.together(lambda: evaluate(self.model, step))
            self.model.reshard()  # without a backward pass the outermost weights would stay gathered
        self.model.train()
        return records


def spread_over(
    model: Any, group: Group, parallel: str, where: torch.device, precision: str = "float32", **scoring: bool
) -> Spread:
    """Put a model where it is trained, in place; every process calls this. With fsdp its parameters become slices (DTensors).

    ``parallel``: "ddp", "fsdp", or "auto" (see ``resolve``). All processes begin with the first one's weights. ``precision`` and
    ``scoring`` (fused, compiled) as in ``Scorer``.
    """
    way = resolve(parallel, model, group, where)
    if way == "fsdp":
        _shard(model, group, where)
    else:
        model.to(where)
    model.train()
    score: Score = Scorer(model, precision, where, whole=way == "fsdp", **scoring)
    if way == "ddp":
        score = nn.parallel.DistributedDataParallel(
            cast(Scorer, score),
            device_ids=[where.index] if where.type == "cuda" else None,
            gradient_as_bucket_view=True,
            **_constant_buffers(),
        )
    if way != "none":
        _settle(model, score, where)
    return Spread(model, score, where, group, way)


def _constant_buffers() -> dict[str, Any]:
    """The option by which DDP does not send buffers around in every pass; torch 2.13 renamed it."""
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}


def _shard(model: Any, group: Group, where: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    with torch.no_grad():  # as DDP does it
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor, 0, group=group.control)
    mesh = init_device_mesh(where.type, (group.size,))
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _settle(model: Any, score: Score, where: torch.device) -> None:
    """One pass that changes nothing, so that what is set up in a first pass is the same in a run that is resumed.

    DDP orders its buckets by the first backward pass, and their order decides how float32 sums round; FSDP2 makes the tensors it
    gathers into, which must not happen in the inference mode of an evaluation.
    """
    with torch.random.fork_rng([where] if where.type == "cuda" else []):
        ids = torch.zeros((1, 2), dtype=torch.int64, device=where)
        loss, _ = score(ids, torch.zeros_like(ids, dtype=torch.bool))
        torch.autograd.backward(loss)
    for parameter in model.parameters():
        parameter.grad = None
