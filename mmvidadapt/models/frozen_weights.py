"""Checkpoints without what their source can restore.

A frozen CLIP tower is the larger part of a model, and the same in each of
its checkpoints. An encoder with :class:`FrozenWeights` leaves out of its
state dict the tensors that do not train and still are what its ``weights``
gave, and puts a fingerprint in their place::

    state_dict()       frozen, as `weights` gave it  --> fingerprint
                       trained, or changed since     --> saved
    load_state_dict()  fingerprint --> `weights` are read, unless they are
                       there already; another hash is an error

Both happen in the encoder's own state-dict hooks, so one file works in
``Runner``, ``init_recognizer``, the inferencer and plain torch.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..compat.averaging import whole_is_wanted
from ..compat.checkpoints import CheckpointError

#: Name of the entry in a state dict that stands for the frozen tensors.
FINGERPRINT = 'fingerprint'


@dataclass(frozen=True)
class Fingerprint:
    """What a checkpoint says of the tensors that it leaves out.

    In a state dict it is JSON text as a tensor of bytes, which every road
    of a checkpoint carries (``weights_only=True``, safetensors, EMA).

    Args:
        arch (str): Name or sizes of the encoder.
        weights (str): The tag, or the file without its folder.
        tensors (int): How many are left out.
        sha256 (str): Hash of their names, shapes and values.
    """

    arch: str
    weights: str
    tensors: int
    sha256: str

    def __str__(self) -> str:
        return f'{self.weights!r} of {self.arch}'

    def to_tensor(self) -> Tensor:
        """The fingerprint as an entry of a state dict."""
        text = json.dumps(asdict(self)).encode()
        return torch.tensor(list(text), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, entry: Tensor) -> 'Fingerprint':
        """Read an entry of a state dict.

        Args:
            entry (Tensor): What :meth:`to_tensor` made.

        Returns:
            Fingerprint: The fingerprint.

        Raises:
            CheckpointError: If it is none.
        """
        try:
            return cls(**json.loads(bytes(entry.tolist())))
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                'the fingerprint of the frozen weights in this checkpoint '
                f'cannot be read ({error}): copy the file again, or save '
                'it anew with this version') from error


def fingerprints_in(state_dict: Mapping[str, Any]) -> dict[str, Fingerprint]:
    """The fingerprints in a state dict.

    Args:
        state_dict (Mapping[str, Any]): Of any model.

    Returns:
        dict[str, Fingerprint]: By the prefix of the encoder's entries, as
        in ``'backbone.encoder.'``.
    """
    return {key[:-len(FINGERPRINT)]: Fingerprint.from_tensor(entry)
            for key, entry in state_dict.items()
            if key.rpartition('.')[2] == FINGERPRINT
            and getattr(entry, 'dtype', None) == torch.uint8}


@dataclass
class _Given:
    """What a source gave; one object for a model and its copies.

    MMEngine copies a model for its average before the weights are loaded,
    and fills the copy later: only the values tell what it holds.
    """

    weights: str = ''
    digests: dict[str, str] = field(default_factory=dict)


class FrozenWeights:
    """Keep frozen tensors of an encoder out of its checkpoints.

    Which ones is decided whenever a state dict is made: a parameter without
    ``requires_grad`` that is bit for bit what ``weights`` gave. The values
    are hashed each time (0.4 s for ViT-B/16 on one core), because a write
    through ``.data`` leaves no other trace. What no source can restore stays
    in the file.

    Args:
        encoder (nn.Module): Has ``weights`` and ``arch_name``; gets the
            hooks.
        load (Callable[[nn.Module, str], Iterable[str]]): Loads ``weights``
            into the encoder and returns the names of tensors whose values it
            computed: another machine may round them in another way, so they
            stay in the file.
        save_frozen (bool): Leave nothing out.
    """

    def __init__(self, encoder: nn.Module,
                 load: Callable[[nn.Module, str], Iterable[str]],
                 save_frozen: bool = False) -> None:
        self.encoder = encoder
        self.save_frozen = save_frozen
        self._load = load
        self._given = _Given()
        self._trained_before_copy: frozenset[str] = frozenset()
        # Torch writes a mark on this hook, which a bound method refuses.
        encoder.register_state_dict_post_hook(partial(self._leave_out))
        encoder.register_load_state_dict_pre_hook(self._put_back)

    def __deepcopy__(self, memo: dict) -> 'FrozenWeights':
        """Remember what trained: an average freezes all of its copy."""
        copied = copy.copy(self)  # shares what was given
        memo[id(self)] = copied
        copied.encoder = copy.deepcopy(self.encoder, memo)
        copied._trained_before_copy = self._trained()
        return copied

    def load(self) -> None:
        """Load the encoder's ``weights``."""
        computed = set(self._load(self.encoder, self.encoder.weights))
        self._given.weights = Path(self.encoder.weights).name
        self._given.digests = _digests({
            name: parameter
            for name, parameter in self.encoder.named_parameters()
            if name not in computed})

    def _trained(self) -> frozenset[str]:
        return self._trained_before_copy.union(
            name for name, parameter in self.encoder.named_parameters()
            if parameter.requires_grad)

    def _leave_out(self, encoder: nn.Module, state_dict: dict[str, Any],
                   prefix: str, local_metadata: dict) -> None:
        """Replace what the source can restore by its fingerprint."""
        given = self._given.digests
        if self.save_frozen or not given or whole_is_wanted():
            return
        trained = self._trained()
        digests = _digests({
            name: parameter for name, parameter in encoder.named_parameters()
            if name in given and name not in trained})
        left_out = {name: digest for name, digest in digests.items()
                    if digest == given[name]}
        if not left_out:
            return
        for name in left_out:
            del state_dict[prefix + name]
        state_dict[prefix + FINGERPRINT] = Fingerprint(
            _arch(encoder), self._given.weights, len(left_out),
            _combined(left_out)).to_tensor()

    def _put_back(self, encoder: nn.Module, state_dict: dict[str, Any],
                  prefix: str, *args: Any) -> None:
        """Fill in what a checkpoint left out.

        Raises:
            CheckpointError: If this encoder's source is not the one that
                the checkpoint was trained with.
            FileNotFoundError: If it cannot be found.
        """
        entry = state_dict.pop(prefix + FINGERPRINT, None)
        if entry is None:
            return
        theirs = Fingerprint.from_tensor(entry)
        place = repr(prefix[:-1] or type(encoder).__name__)
        absent = {name: parameter
                  for name, parameter in encoder.named_parameters()
                  if prefix + name not in state_dict}
        if len(absent) != theirs.tensors:
            raise CheckpointError(
                f'the checkpoint leaves {theirs.tensors} tensors of {theirs} '
                f'to their source, but {place} ({_arch(encoder)}) lacks '
                f'{len(absent)}: use the encoder that it was trained with')
        # Right after building nothing was given, and hashing is in vain.
        if not self._given.digests or values_hash(absent) != theirs.sha256:
            self._load_again(theirs, place)
            if values_hash(absent) != theirs.sha256:
                raise CheckpointError(_difference(encoder, theirs, place))
        for name, parameter in absent.items():
            state_dict[prefix + name] = parameter.detach()

    def _load_again(self, theirs: Fingerprint, place: str) -> None:
        """Load the weights that a checkpoint relies on."""
        if self.encoder.weights is None:
            raise CheckpointError(
                'the checkpoint holds only what was trained, and the encoder '
                f'{place} has weights=None: set weights to {theirs}, which '
                'it was trained with')
        try:
            self.load()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                'the checkpoint holds only what was trained and needs the '
                f'frozen weights {theirs} for {place}, but {error}'
            ) from error


def _arch(encoder: nn.Module) -> str:
    """Name of an encoder's sizes."""
    if encoder.arch_name is not None:
        return encoder.arch_name
    return (f'{encoder.arch.num_layers} blocks of '
            f'{encoder.arch.embed_dims} channels')


def _difference(encoder: nn.Module, theirs: Fingerprint, place: str) -> str:
    """Say that the frozen weights are not those of a checkpoint."""
    own = f'{Path(encoder.weights).name!r} of {_arch(encoder)}'
    dtypes = {parameter.dtype for parameter in encoder.parameters()}
    if dtypes != {torch.float32}:
        names = ', '.join(sorted(str(dtype).replace('torch.', '')
                                 for dtype in dtypes))
        return (f'the checkpoint needs {theirs} in float32, and {place} was '
                f'converted to {names}: load first, convert afterwards')
    return (f'the checkpoint was trained with the frozen weights {theirs} '
            f'and {place} has {own}, whose values are others: set weights of '
            'this encoder to what the checkpoint was trained with')


def _digest(tensor: Tensor) -> str:
    """Hash of the shape and the values, as float32."""
    values = tensor.detach().float().cpu().contiguous().numpy()
    digest = hashlib.sha256(repr(tuple(tensor.shape)).encode())
    digest.update(np.ascontiguousarray(values, dtype='<f4'))
    return digest.hexdigest()


def _digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Hash of each tensor; hashing lets other threads run."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return dict(zip(tensors, pool.map(_digest, tensors.values()),
                        strict=True))


def _combined(digests: Mapping[str, str]) -> str:
    """One hash for named hashes, in any order."""
    text = '\n'.join(f'{name} {digests[name]}' for name in sorted(digests))
    return hashlib.sha256(text.encode()).hexdigest()


def values_hash(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, shapes and values, as float32.

    Args:
        tensors (Mapping[str, Tensor]): In any order, on any device.

    Returns:
        str: SHA-256 in hexadecimal.
    """
    return _combined(_digests(tensors))
