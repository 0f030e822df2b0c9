"""Loading of CLIP weights in every layout they are published in.

::

    tag --download--> file --read--> tensors --rename--> two towers
        --check sizes, resize positions--> encoder, strictly

Only tensors are read (``weights_only=True`` or safetensors), with one
exception: OpenAI's TorchScript archive (``ViT-B-16.pt`` as downloaded from
OpenAI) is a program. It is opened by ``torch.jit.load``, so take such a file
from a source that you trust.
"""

import json
import math
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from open_clip import pretrained
from torch import Tensor, nn

from ...compat.checkpoints import CheckpointError, read_checkpoint
from ..frozen_weights import fingerprints_in
from ..locking import file_lock
from ..published import without_wrappers
from .arch import VisionArch, tag_owner
from .layouts import Layout, detect_layout, split_towers

#: Weights inside a folder of Hugging Face's hub, in order of preference.
_FOLDER_FILES = ('model.safetensors', 'pytorch_model.bin',
                 'open_clip_model.safetensors', 'open_clip_pytorch_model.bin')
_SUFFIXES = ('.pt', '.pth', '.bin', '.safetensors', '.ckpt')
#: Entries of checkpoints that hold the state dict.
_CONTAINERS = ('state_dict', 'model')
#: What an encoder may lack by its own configuration.
_OPTIONAL = ('ln_post.weight', 'ln_post.bias', 'proj')
#: Hugging Face's names of the two activations.
_HF_ACTS = ('quick_gelu', 'gelu')
#: Names of the last norm in mmpretrain's files, by what it normalises.
_LAST_NORMS = dict(cls_token='ln_class.', avg_featmap='ln_mean.')
#: What tells ViTs apart, by option of ``arch``: what the file has or has not,
#: and a tensor that shows it.
_FORMS = dict(
    pre_norm=('the norm before the first block that every CLIP has',
              re.compile(r'ln_pre\.weight')),
    abs_pos_emb=('positions added to its tokens',
                 re.compile('positional_embedding')),
    rel_pos_bias=('relative positions in its attention',
                  re.compile(r'(.*\.)?rel_pos_bias\.table')))
#: Relative positions of the first block.
_TABLE = 'transformer.resblocks.0.attn.rel_pos_bias.table'
#: Ways to give a temporal embedding more frames; the last refuses.
TEMPORAL_RESIZES = ('linear', 'zeros', None)
_TEMPORAL = 'temporal_positional_embedding'


class _File(NamedTuple):
    """What was read: tensors by key, where from, and what is known."""

    tensors: dict[str, Tensor]
    path: Path
    act: str | None
    act_source: str


class _Fitted(NamedTuple):
    """What was changed in a file's tensors to fit the encoder.

    Args:
        told (list[str]): Each change, for the log.
        computed (list[str]): Names of tensors whose values were computed.
    """

    told: list[str]
    computed: list[str]


def load_vision_weights(encoder: nn.Module, weights: str) -> list[str]:
    """Load CLIP weights into an image or video encoder.

    Args:
        encoder (nn.Module): A :class:`CLIPVisionEncoder` or
            :class:`ViCLIPVisionEncoder`, changed in place.
        weights (str): An open_clip tag of the encoder's ``arch`` name
            (``'openai'``, ``'laion2b_s34b_b88k'``), or a file or folder:
            OpenAI's TorchScript archive (from a trusted source only) or
            state dict, open_clip's, Hugging Face's ``CLIPModel`` and
            ``CLIPVisionModel``, mmpretrain's multimodal ``CLIP`` and
            ``VisionTransformer`` and ``BEiTViT``, ViCLIP's, or a checkpoint of
            mmvidadapt.

    Returns:
        list[str]: Names of tensors that were computed from those of the
        file: positions resized to another grid or number of frames.

    Raises:
        FileNotFoundError: If the file is missing or cannot be downloaded.
        CheckpointError: If the file cannot be read.
        ValueError: If the weights are not this encoder's: another tag,
            model, size or activation.
    """
    return _load(encoder, weights, 'visual')


def load_text_weights(encoder: nn.Module, weights: str) -> list[str]:
    """Load CLIP weights into a text encoder.

    Args:
        encoder (nn.Module): A :class:`CLIPTextEncoder`, changed in place.
        weights (str): As for :func:`load_vision_weights`.

    Returns:
        list[str]: Names of tensors that were computed, always none.

    Raises:
        FileNotFoundError: If the file is missing or cannot be downloaded.
        CheckpointError: If the file cannot be read.
        ValueError: If the weights are not this encoder's.
    """
    return _load(encoder, weights, 'text')


def _load(encoder: nn.Module, weights: str, tower: str) -> list[str]:
    path, tag_act = _locate(weights, encoder.arch_name, encoder.act)
    file = _read(path)
    _refuse_small(file.tensors, str(path))
    layout = detect_layout(file.tensors, str(path))
    act, act_source = _stated_act(file, layout, tower)
    if tag_act is None:
        _check_act(encoder.act, act, act_source)
    tensors = split_towers(file.tensors, layout, str(path))[tower]
    kind = 'image' if tower == 'visual' else 'text'
    if not tensors:
        raise ValueError(f'{path} ({layout.name}) holds no {kind} tower: give '
                         f'weights that have one')
    own = dict(encoder.named_parameters())  # checkpoints have no buffers
    fitted = _Fitted([], [])
    source = f'{path} ({layout.name})'
    if tower == 'visual':
        _check_form(tensors, encoder.arch, source)
        _share_table(tensors, own, fitted)
        _name_last_norm(tensors, own, encoder.out_type, source)
    left_out = [name for name in _OPTIONAL
                if name in tensors and name not in own]
    for name in left_out:
        del tensors[name]
    _check_sizes(tensors, own, source)
    if tower == 'visual' and not encoder.arch.pre_norm:
        _fit_biases(tensors, own, fitted)
    _fit_positions(tensors, own, tower, str(path), fitted)
    if _TEMPORAL in own:
        _fit_frames(tensors, own, encoder.temporal_resize, str(path), fitted)
    check_names(tensors, own, source)
    dtypes = sorted({str(t.dtype).replace('torch.', '')
                     for t in tensors.values()})
    encoder.load_state_dict({k: v.float() for k, v in tensors.items()})
    known = tag_act or act
    MMLogger.get_current_instance().info(
        f'Loaded {len(tensors)} tensors of the {kind} tower from {path}: '
        f'layout {layout.name}, stored as {", ".join(dtypes)}, '
        + ''.join(f'{what}, ' for what in fitted.told)
        + (f'left out {", ".join(left_out)}, ' if left_out else '')
        + (f'activation {known} confirmed' if known else
           f'activation {encoder.act} taken from the config (the file does '
           'not state one)') + '.')
    return fitted.computed


# -- finding the file ------------------------------------------------------


def weights_identity(weights: str, arch_name: str | None) -> str:
    """What tells weights from others, without downloading or reading them.

    Args:
        weights (str): As for :func:`load_vision_weights`.
        arch_name (str | None): The open_clip name that a tag belongs to.

    Returns:
        str: The tag with its model, or path, size and time of change of the
        file.

    Raises:
        FileNotFoundError: If it is a file and missing.
        ValueError: If it is neither a file nor a tag.
    """
    owner = tag_owner(arch_name) if arch_name else ''
    if owner and pretrained.is_pretrained_cfg(owner, str(weights)):
        return f'{owner} {weights}'
    path = _locate_file(weights, arch_name).resolve()
    stat = path.stat()
    return f'{path} {stat.st_size} {stat.st_mtime_ns}'


def _locate(weights: str, arch_name: str | None,
            act: str) -> tuple[Path, str | None]:
    """The file of ``weights``, and the activation if it is a tag."""
    text = str(weights)
    owner = tag_owner(arch_name) if arch_name else ''
    if owner and pretrained.is_pretrained_cfg(owner, text):
        config = pretrained.get_pretrained_cfg(owner, text)
        stated = 'quick_gelu' if config.get('quick_gelu') else 'gelu'
        _check_act(act, stated, f'the tag {text!r}')
        return _download(owner, text, config), stated
    return _locate_file(weights, arch_name), None


def _locate_file(weights: str, arch_name: str | None) -> Path:
    """The file of ``weights`` that are no tag."""
    if not isinstance(weights, (str, os.PathLike)) or not str(weights):
        raise ValueError(f'weights={weights!r} names nothing: give an '
                         'open_clip tag such as openai, or a file')
    text = os.fspath(weights)
    path = Path(text).expanduser()
    if path.is_dir():
        for name in _FOLDER_FILES:
            if (path / name).is_file():
                return path / name
        raise FileNotFoundError(
            f'the folder {path} holds none of {", ".join(_FOLDER_FILES)}: '
            'give the path of the weight file itself')
    if path.is_file():
        return path
    if len(path.parts) > 1 or path.suffix in _SUFFIXES:
        raise FileNotFoundError(f'weights file {path} does not exist: correct '
                                'the path, or use an open_clip tag')
    if arch_name is None:
        raise ValueError(
            f'weights={text!r} is no file, and a tag needs the name of a '
            "model: set arch='ViT-B-16' or arch=dict(name='ViT-B-16', ...)")
    owner = tag_owner(arch_name)
    tags = pretrained.list_pretrained_tags_by_model(owner)
    raise ValueError(
        f'weights={text!r} is neither a file nor an open_clip tag of '
        f'{owner}: use '
        + (f'one of {", ".join(tags)}' if tags else
           'a file (open_clip publishes none for this model)'))


def _download(arch_name: str, tag: str, config: dict) -> Path:
    """Download through open_clip, one process of a machine at a time."""
    lock = f'mmvidadapt-{os.getuid()}-{arch_name}-{tag}.lock'
    with file_lock(Path(tempfile.gettempdir(), lock)):
        return _download_now(arch_name, tag, config)


def _download_now(arch_name: str, tag: str, config: dict) -> Path:
    try:
        return Path(pretrained.download_pretrained(config))
    except Exception as error:  # whatever the network or the hub raises
        reason = ' '.join(str(error).split())[:200] or type(error).__name__
        raise FileNotFoundError(
            f'the weights {tag!r} of {arch_name} cannot be downloaded '
            f'({reason}): connect to the network once, or copy the file here '
            "and give weights='path/to/file'") from error


# -- reading the file ------------------------------------------------------


def _read(path: Path) -> _File:
    if zipfile.is_zipfile(path) and _is_torchscript(path):
        return _read_torchscript(path)
    content = read_checkpoint(path, map_location='cpu')
    return _File(_tensors_of(content, path), path, *_act_in_meta(content))


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith('/constants.pkl') or '/code/' in name
                   for name in archive.namelist())


def _read_torchscript(path: Path) -> _File:
    try:
        module = torch.jit.load(str(path), map_location='cpu')
    except RuntimeError as error:
        raise CheckpointError(
            f'{path} is a TorchScript archive that cannot be opened '
            f'({str(error).strip().splitlines()[0]}): download it again'
        ) from error
    # OpenAI publishes its models in this form, all of them with QuickGELU.
    return _File(dict(module.state_dict()), path, 'quick_gelu',
                 f'the TorchScript archive {path}')


def _refuse_small(tensors: Mapping[str, Tensor], path: str) -> None:
    """Refuse a checkpoint whose encoder was left to its source."""
    for fingerprint in fingerprints_in(tensors).values():
        raise ValueError(
            f'{path} holds only what was trained, not the frozen weights '
            f'{fingerprint}: give those as weights, and this file as '
            'load_from or checkpoint')


def _tensors_of(content: object, path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint, without wrappers' prefixes."""
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(
                content.get(name), Mapping):
            content = content[name]
    tensors = {key: value for key, value in content.items()
               if isinstance(key, str) and torch.is_tensor(value)
               } if isinstance(content, Mapping) else {}
    if not tensors:
        raise ValueError(
            f'{path} holds no state dict, neither bare nor under '
            f'{" or ".join(map(repr, _CONTAINERS))}: give a file of weights')
    return without_wrappers(tensors, str(path))


# -- activation ------------------------------------------------------------


def _check_act(act: str, stated: str | None, source: str) -> None:
    if stated is not None and stated != act:
        raise ValueError(
            f'act={act!r} but {source} was trained with {stated!r}: set '
            f'act={stated!r} in the encoder, or use other weights')


def _act_in_meta(content: object) -> tuple[str | None, str]:
    """The activation in the config that mmengine stores with a checkpoint.

    An encoder's ``act`` is always stated, so a config with one value of it
    has the encoder's.
    """
    meta = content.get('meta') if isinstance(content, Mapping) else None
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    if not isinstance(text, str):
        return None, ''
    acts = set(re.findall(r"""\bact=['"](\w+)['"]""", text))
    if len(acts) != 1:
        return None, ''
    return acts.pop(), 'the config inside the checkpoint'


def _stated_act(file: _File, layout: Layout,
                tower: str) -> tuple[str | None, str]:
    """The activation that the file, its layout or its neighbour states."""
    if file.act is not None:
        return file.act, file.act_source
    if layout.act is not None:
        return layout.act, f'{file.path} ({layout.name})'
    beside = file.path.parent / (layout.config or '')
    if not layout.config or not beside.is_file():
        return None, ''
    try:
        config = json.loads(beside.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{beside} is not JSON ({error}): mend or remove it'
                         ) from error
    if layout.config == 'open_clip_config.json':
        quick = config.get('model_cfg', config).get('quick_gelu', False)
        return 'quick_gelu' if quick else 'gelu', str(beside)
    # transformers leaves out what has its default value, QuickGELU.
    key = 'vision_config' if tower == 'visual' else 'text_config'
    act = (config.get(key) or config).get('hidden_act', 'quick_gelu')
    if act not in _HF_ACTS:
        raise ValueError(
            f'{beside} states hidden_act={act!r}, which no CLIP encoder here '
            f'can run: use weights with {" or ".join(_HF_ACTS)}')
    return act, str(beside)


# -- sizes, positions, names -----------------------------------------------


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes of a tower, as far as its tensors tell."""
    layers = [int(match.group(1)) for match in (
        re.match(r'transformer\.resblocks\.(\d+)\.', name)
        for name in tensors) if match]
    sizes = dict(num_layers=1 + max(layers, default=-1))
    for size, name, axis in (
            ('embed_dims', 'class_embedding', 0),
            ('embed_dims', 'token_embedding.weight', 1),
            ('vocab_size', 'token_embedding.weight', 0),
            ('patch_size', 'conv1.weight', -1),
            ('mlp channels', 'transformer.resblocks.0.mlp.c_fc.weight', 0),
            ('num_heads', _TABLE, 1),
            ('output_dims', 'proj', 1),
            ('output_dims', 'text_projection', 1)):
        if name in tensors and tensors[name].dim() > axis:
            sizes[size] = tensors[name].shape[axis]
    kernel = tensors.get('conv1.weight')
    if kernel is not None and kernel.dim() == 5:
        sizes['tubelet_size'] = kernel.shape[2]
    return sizes


def _name_last_norm(tensors: dict[str, Tensor], own: Mapping[str, Tensor],
                    out_type: str, source: str) -> None:
    """Give the last norm of mmpretrain's files our name."""
    found = [kind for kind, norm in _LAST_NORMS.items()
             if any(name.startswith(norm) for name in tensors)]
    if 'ln_post.weight' in own and found and found != [out_type]:
        has = ('class tokens' if found == ['cls_token'] else
               'means over patches')
        raise ValueError(
            f'{source} is a ViT whose features are {has}, '
            + ('with a norm before and after the mean: set post_norm=False '
               'in encoder to do without both' if len(found) > 1 else
               f'and out_type={out_type!r} reads others: set out_type='
               f'{found[0]!r} in encoder, or post_norm=False to do without '
               'its last norm'))
    for kind in found:
        for part in ('weight', 'bias'):
            value = tensors.pop(f'{_LAST_NORMS[kind]}{part}', None)
            if value is not None:
                tensors[f'ln_post.{part}'] = value


def _check_form(tensors: Mapping[str, Tensor], arch: VisionArch,
                source: str) -> None:
    """Refuse a tower that is no plain ViT, or another one than ``arch``."""
    if 'class_embedding' not in tensors:
        raise ValueError(
            f'{source} holds an image tower that is not a plain ViT (no class '
            'token): use weights of one such as ViT-B-32, ViT-B-16 or '
            'ViT-L-14')
    wrong = {}
    for option, (_, mark) in _FORMS.items():
        has = any(mark.fullmatch(name) for name in tensors)
        if has != getattr(arch, option):
            wrong[option] = has
    if wrong:
        said = ', '.join(f'with{"" if has else "out"} {_FORMS[option][0]}'
                         for option, has in wrong.items())
        options = [f'{option}={has}' for option, has in wrong.items()]
        if wrong.get('pre_norm') is False:
            options.append('norm_eps=1e-6')
        raise ValueError(
            f'{source} is a ViT {said}: set {", ".join(options)} in arch, or '
            'use other weights')


def _share_table(tensors: dict[str, Tensor], own: Mapping[str, Tensor],
                 fitted: _Fitted) -> None:
    """Give every block the relative positions that a file has once."""
    table = tensors.pop('rel_pos_bias.table', None)
    if table is not None:
        tensors.update({name: table for name in own
                        if name.endswith('.rel_pos_bias.table')})
        fitted.told.append('relative positions copied to every block')


def _check_sizes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor],
                 source: str) -> None:
    found, wanted = _sizes(tensors), _sizes(own)
    wrong = [size for size in wanted
             if size in found and found[size] != wanted[size]]
    if wrong:
        raise ValueError(
            f'{source} has '
            + ', '.join(f'{size}={found[size]}' for size in wrong)
            + ' but the encoder has '
            + ', '.join(f'{size}={wanted[size]}' for size in wrong)
            + ': set arch to the model of this file, or use other weights')
    table = tensors.get(_TABLE)
    if table is not None and table.shape != own[_TABLE].shape:
        # (2n - 1)^2 offsets of n x n patches, 3 pairs with the class token
        side = (math.isqrt(len(table) - 3) + 1) // 2
        raise ValueError(
            f'{source} has relative positions of {side}x{side} patches, which '
            'are not resized: set image_size='
            f'{side * wanted["patch_size"]} in arch, or use other weights')
    if _TEMPORAL in tensors and _TEMPORAL not in own:
        raise ValueError(
            f'{source} holds a video tower, with a temporal embedding, and '
            "the encoder reads single frames: set type='ViCLIPVisionEncoder' "
            'in encoder, or use weights of an image model')


def _fit_biases(tensors: dict[str, Tensor], own: Mapping[str, Tensor],
                fitted: _Fitted) -> None:
    """Zeros for the biases of projections of a ViT that has none.

    Those of keys alone, which a BEiT lacks, change nothing: all keys of a
    query get the same from it, and softmax takes that off.
    """
    biases = [name for name in own if name.endswith('.attn.in_proj_bias')]
    for name in biases:
        names = [name.replace('in_proj', part) for part in 'qv']
        if all(part in tensors for part in names):
            q, v = (tensors.pop(part) for part in names)
            tensors[name] = torch.cat([q, torch.zeros_like(q), v])
    if not any(name in tensors for name in biases):
        tensors.update({name: torch.zeros_like(own[name], device='cpu')
                        for name in biases})
        fitted.told.append('biases of q, k and v zero')


def _fit_positions(tensors: dict[str, Tensor], own: Mapping[str, Tensor],
                   tower: str, source: str, fitted: _Fitted) -> None:
    """Fit the position table to the encoder."""
    name = 'positional_embedding'
    if name not in tensors or tensors[name].shape == own[name].shape:
        return
    table, length = tensors[name], len(own[name])
    if tower == 'text':
        if len(table) < length:
            raise ValueError(
                f'{source} has positions for {len(table)} tokens, fewer than '
                f'context_length={length}: set context_length to '
                f'{len(table)} or less')
        tensors[name] = table[:length]
        fitted.told.append(
            f'positions cut from {len(table)} to {length} tokens')
        return
    old, new = round((len(table) - 1)**0.5), round((length - 1)**0.5)
    if old * old + 1 != len(table):
        raise ValueError(
            f'{source} has {len(table)} positions, which are not a class '
            'token and a square grid: use weights trained on square frames')
    # Each as its own loader does: open_clip's smooths, ViCLIP's does not.
    tensors[name] = resize_positions(
        table, new, antialias=_TEMPORAL not in own)
    fitted.told.append(
        f'positions resized from {old}x{old} to {new}x{new} (bicubic)')
    fitted.computed.append(name)


def resize_positions(table: Tensor, size: int,
                     antialias: bool = True) -> Tensor:
    """Interpolate a position table to another square grid.

    Args:
        table (Tensor): ``(1+n*n, D)``, class token first.
        size (int): Rows and columns of the new grid.
        antialias (bool): Smooth where the grid shrinks; the kernel differs
            where it grows, too.

    Returns:
        Tensor: ``(1+size*size, D)`` in float32; the class row is kept.
    """
    cls, grid = table[:1].float(), table[1:].float()
    side = round(len(grid)**0.5)
    grid = grid.T.reshape(1, -1, side, side)  # (1, D, n, n)
    grid = F.interpolate(grid, (size, size), mode='bicubic',
                         antialias=antialias, align_corners=False)
    return torch.cat([cls, grid[0].flatten(1).T])


def _fit_frames(tensors: dict[str, Tensor], own: Mapping[str, Tensor],
                how: str | None, source: str, fitted: _Fitted) -> None:
    """Fit the patch kernel and the temporal embedding to a video encoder."""
    kernel, wanted = tensors.get('conv1.weight'), own[_TEMPORAL].shape[1]
    if kernel is not None and kernel.dim() == 4:  # of an image model
        size = own['conv1.weight'].shape[2]
        tensors['conv1.weight'] = inflate(kernel, size)
        fitted.told.append(f'patch kernel inflated to {size} frames')
        if _TEMPORAL not in tensors:
            tensors[_TEMPORAL] = torch.zeros_like(own[_TEMPORAL])
            fitted.told.append('temporal embedding zero')
    table = tensors.get(_TEMPORAL)
    if table is None or table.dim() != 3 or table.shape[1] == wanted:
        return
    found = table.shape[1]
    if how is None and wanted != 1:
        raise ValueError(
            f'{source} has a temporal embedding of {found} frames, and the '
            f'encoder of {wanted}: sample {found} frames, or set '
            "temporal_resize='linear'")
    tensors[_TEMPORAL] = resize_frames(table, wanted, how)
    fitted.told.append(f'temporal embedding resized from {found} to {wanted} '
                       'frames')
    if wanted == 1 or (wanted > found and how == 'linear'):
        fitted.computed.append(_TEMPORAL)  # the others are copies


def inflate(kernel: Tensor, num_frames: int) -> Tensor:
    """A 3-D patch kernel that sees the middle frame only.

    Args:
        kernel (Tensor): ``(D, 3, p, p)``.
        num_frames (int): Frames ``t`` of the new kernel.

    Returns:
        Tensor: ``(D, 3, t, p, p)``.
    """
    inflated = kernel.new_zeros(kernel.shape[:2] + (num_frames, )
                                + kernel.shape[2:])
    inflated[:, :, num_frames // 2] = kernel
    return inflated


def resize_frames(table: Tensor, num_frames: int,
                  how: str | None) -> Tensor:
    """Fit a temporal embedding to another number of frames.

    Args:
        table (Tensor): ``(1, T, D)``.
        num_frames (int): Frames ``T'`` that it is to serve: one gets the
            mean, fewer than ``T`` the first rows.
        how (str | None): What more than ``T`` get: ``'linear'``
            interpolation, or ``'zeros'`` behind the rows.

    Returns:
        Tensor: ``(1, T', D)``.
    """
    length = table.shape[1]
    if num_frames == 1:
        return table.mean(dim=1, keepdim=True)
    if num_frames <= length:
        return table[:, :num_frames]
    if how == 'zeros':
        return F.pad(table, (0, 0, 0, num_frames - length))
    return F.interpolate(
        table.float().transpose(1, 2), num_frames, mode='linear',
        align_corners=False).transpose(1, 2)


def check_names(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor],
                source: str) -> None:
    """Refuse tensors that are not exactly those of an encoder.

    Args:
        tensors (Mapping[str, Tensor]): The tensors by CLIP's names.
        own (Mapping[str, Tensor]): Those of the encoder.
        source (str): Where they come from, for messages.

    Raises:
        ValueError: If one is missing, left over or of another shape.
    """
    faults = []
    for word, names in (
            ('lacks', [n for n in own if n not in tensors]),
            ('also holds', [n for n in tensors if n not in own]),
            ('has another shape of', [
                n for n in own if n in tensors
                and own[n].shape != tensors[n].shape])):
        if names:
            more = f' and {len(names) - 3} more' if len(names) > 3 else ''
            faults.append(f'{word} {", ".join(names[:3])}{more}')
    if faults:
        raise ValueError(
            f'{source} does not fit this encoder: it {"; it ".join(faults)}; '
            'give weights of the same kind of CLIP (an image file without '
            'projection needs project=False, one without a last norm '
            'post_norm=False)')
