"""What a training step keeps in memory."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_STATUS = Path('/proc/self/status')


def _storage_key(tensor: Tensor) -> int:
    """The same for tensors that share their memory."""
    return tensor.untyped_storage()._cdata


class _Saved:
    """A tensor in the hands of autograd; lives as long as the graph."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def saved_bytes(run: Callable[[], Any],
                exclude: Iterable[Tensor] = ()) -> int:
    """Count the bytes that autograd keeps for backward.

    Tensors that share memory count once; what is dropped before ``run``
    returns does not count.

    Args:
        run (Callable[[], Any]): A forward pass; its result holds the graph.
        exclude (Iterable[Tensor]): What lives anyway: parameters, buffers
            and the input.

    Returns:
        int: Bytes.
    """
    own = {_storage_key(tensor) for tensor in exclude}
    kept: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Saved:
        # An operator's own output would hold the operator, which holds it.
        saved = _Saved(tensor.detach())
        kept.add(saved)
        return saved

    with saved_tensors_hooks(pack, lambda saved: saved.tensor):
        graph = run()
    sizes = {_storage_key(saved.tensor): saved.tensor.untyped_storage()
             .nbytes() for saved in kept}
    del graph
    return sum(size for key, size in sizes.items() if key not in own)


@dataclass
class Peak:
    """What is live when a step holds the most.

    Args:
        total (int): Bytes.
        moment (str): The operator whose result makes the peak.
        kinds (dict[str, int]): Bytes by kind, the largest first.
        working (list[tuple[str, int]]): Operator and shape, and bytes, of
            what is neither kept nor known, the largest first.
    """

    total: int = 0
    moment: str = ''
    kinds: dict[str, int] = field(default_factory=dict)
    working: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class _Piece:
    """One storage."""

    kind: str
    source: str
    nbytes: int


class _Follow(TorchDispatchMode):
    """Follow every storage from the operator that makes it to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, _Piece] = {}
        self.ends: dict[int, weakref.ref] = {}
        self.now = 0
        self.peak = 0
        self.moment = ''
        self.at_peak: list[_Piece] = []

    def add(self, tensor: Tensor, kind: str, source: str) -> None:
        """Follow the storage of a tensor, unless that is done already."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.live:
            self.live[key] = _Piece(kind, source, storage.nbytes())
            self.now += storage.nbytes()
            self.ends[key] = weakref.ref(storage, partial(self.drop, key))

    def drop(self, key: int, _: weakref.ref) -> None:
        """A storage was freed."""
        del self.ends[key]
        self.now -= self.live.pop(key).nbytes

    def mark(self, tensor: Tensor, kind: str) -> None:
        """Say what a working tensor has become."""
        piece = self.live.get(_storage_key(tensor))
        if piece is not None and piece.kind == 'working':
            piece.kind = kind

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                source = f'{func._overloadpacket} {tuple(value.shape)}'
                self.add(value, 'working', source)
                if self.now > self.peak:
                    self.peak, self.moment = self.now, source
                    # Pieces may still learn what they are.
                    self.at_peak = list(self.live.values())
        return out


def live_at_peak(step: Callable[[], Any], known: Mapping[str, Iterable],
                 trained: Iterable[nn.Parameter]) -> Peak:
    """Say what a training step holds when it holds the most.

    Counted are the tensors that operators return. What an operator takes and
    frees inside, and what the allocator adds, shows only in the memory of the
    process.

    Args:
        step (Callable[[], Any]): Forward, backward and optimiser; it has run
            before, so that the optimiser has its state.
        known (Mapping[str, Iterable]): Tensors that live already, by kind.
        trained (Iterable[nn.Parameter]): What takes a gradient.

    Returns:
        Peak: Bytes by kind: those of ``known``, 'gradients', 'saved for
        backward' and 'working'.
    """
    follow = _Follow()
    for kind, tensors in known.items():
        for tensor in tensors:
            follow.add(tensor, kind, kind)

    def gradient(param: nn.Parameter) -> None:
        assert param.grad is not None
        follow.mark(param.grad, 'gradients')

    def saved(tensor: Tensor) -> Tensor:
        follow.mark(tensor, 'saved for backward')
        return tensor.detach()  # as in saved_bytes

    hooks = [param.register_post_accumulate_grad_hook(gradient)
             for param in trained]
    try:
        with saved_tensors_hooks(saved, lambda tensor: tensor), follow:
            step()
    finally:
        for hook in hooks:
            hook.remove()
    kinds: Counter[str] = Counter()
    working: Counter[str] = Counter()
    for piece in follow.at_peak:
        kinds[piece.kind] += piece.nbytes
        if piece.kind == 'working':
            working[piece.source] += piece.nbytes
    return Peak(follow.peak, follow.moment, dict(kinds.most_common()),
                working.most_common())


class ResidentGrowth:
    """How far the resident memory of this process grows from now on.

    It is what the system gives to the process: weights, activations, what
    the allocator keeps and what libraries take.

    Raises:
        OSError: If the system does not tell, as any but Linux.
    """

    def __init__(self) -> None:
        # Forget what importing took at its peak.
        Path('/proc/self/clear_refs').write_text('5')
        self.before = self._read('VmRSS')

    def _read(self, name: str) -> int:
        for line in _STATUS.read_text().splitlines():
            key, _, value = line.partition(':')
            if key == name:
                return int(value.split()[0]) * 1024
        raise OSError(f'{_STATUS} does not tell {name}')

    def peak(self) -> int:
        """Bytes between the start and the highest point since.

        Returns:
            int: Bytes.
        """
        return self._read('VmHWM') - self.before
