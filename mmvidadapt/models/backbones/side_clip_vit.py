"""A side network on a frozen CLIP image tower."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Dict, List, Sequence

import torch
from mmaction.registry import MODELS
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from ..clip.block import recompute
from ..clip.layout import TokenLayout
from ..clip.vision_encoder import CLIPVisionEncoder
from ..freed_memory import return_freed_memory
from ..side import (
    DifferenceGate,
    SideBlock,
    SideStem,
    Tap,
    TemporalBranch,
    side_switches,
)
from ..side.temporal import DIFFERENCES
from ..strict_loading import refuse_partial_load
from ..switches import remember_switches

#: Values of the switches that tell the published models apart. 'paper': the
#: values that TDS-CLIP's own ablations prefer; 'published': what the released
#: TDS-CLIP program computes, for its checkpoints; 'side4video': Side4Video.
PRESETS: Dict[str, Dict[str, Any]] = dict(
    paper=dict(window=5, alpha=1.0, beta=1.0, stem_padding=1,
               td_layers='all'),
    published=dict(window=5, alpha=0.5, beta=1.0, stem_padding=1,
                   td_layers='all'),
    side4video=dict(window=1, alpha=1.0, beta=1.0, stem_padding=0,
                    td_layers=()))

_DTYPES = dict(bfloat16=torch.bfloat16, float16=torch.float16)


@MODELS.register_module()
class SideCLIPViT(BaseModule):
    """TDS-CLIP and Side4Video: a side network that reads a frozen CLIP.

    ::

        (B,3,T*window,H,W) -- centre frames --> frozen CLIP, block by block
                  |                                 | tokens of block i
                  |                                 v
                  +--> SideStem --> side tokens --(average)--> SideBlock i
                                        ^                          |
                                        +--------------------------+
        after the last block: BatchNorm, mean over patches -> (B,T,D)
        with add_to_clip: CLIP's frame features + linear map of these

    A side block runs as soon as its CLIP block has, so CLIP's tokens are not
    collected, and no gradient enters CLIP.

    Source: TDS-CLIP, arXiv 2408.10688, Fig. 3; Side4Video, arXiv 2311.15769.
    ``add_to_clip`` is ours.

    Args:
        encoder (dict): Arguments of :class:`CLIPVisionEncoder`; always
            frozen, and without ``ln_post`` and ``proj`` unless
            ``add_to_clip``.
        num_frames (int): Windows ``T`` of a clip.
        preset (str): Key of :data:`PRESETS`; a switch that is not given has
            the preset's value.
        side_dims (int): Side channels ``D``.
        num_heads (int | None): Heads of a side block; ``side_dims / 64`` if
            not given.
        mlp_ratio (float): Hidden channels of a side MLP over ``D``.
        window (int | None): Frames of a local window, odd; 1 switches the
            SME-Adapter off.
        alpha (float | None): Weight of the frame differences (Eq. 3); with
            ``window=1`` there are none to weigh.
        beta (float | None): Weight of the centre frame (Eq. 3).
        stem_padding (int | None): Zeros around a frame in the stem, in
            pixels.
        td_layers (str | Sequence[int] | None): Side blocks with the
            TD-Adapter, counted from 0, or ``'all'``; the others have
            Side4Video's temporal convolution.
        difference (str): The TD-Adapter's difference: ``'pool'``, ``'conv'``
            or ``'direct'`` (Table 3d).
        kernel_size (int): Frames of its pool or convolution, odd (Table 3e).
        encoder_dtype (str | None): Run CLIP in ``'bfloat16'`` or
            ``'float16'``; its weights stay as they are.
        with_cp (bool): Keep only the input of each side block and compute
            the rest again in backward; running statistics move once. Freed
            memory of the CPU goes back to the system, see
            :func:`~mmvidadapt.models.freed_memory.return_freed_memory`.
        add_to_clip (bool): Return CLIP's own frame features, in the joint
            image-text space, with a linear map of the side features added.
            It starts at zero, so that training starts from CLIP, zero-shot
            scores of a :class:`TextHead` included.
        adapters (Sequence[dict]): None fits; any is refused with the reason.
        check_switches (bool): Refuse a checkpoint that was trained with
            other values of what its shapes do not tell (``num_frames``,
            ``num_heads``, ``alpha``, ``beta``, ``stem_padding``,
            ``difference``, ``kernel_size``, CLIP's heads, activation and, with
            ``add_to_clip``, ``out_type``); switch it off to fine-tune one.
        init_cfg (dict | None): mmengine's initialisation config.

    Shapes:
        - Input: ``(B, 3, T*window, H, W)``, normalised; frame
          ``t*window + m`` is frame ``m`` of window ``t``.
        - Output: ``(B, T, D)``; with ``add_to_clip`` as many channels as
          the joint space.

    Raises:
        ValueError: If an option is not valid.
    """

    def __init__(self,
                 encoder: dict,
                 num_frames: int,
                 preset: str = 'paper',
                 side_dims: int = 320,
                 num_heads: int | None = None,
                 mlp_ratio: float = 4.0,
                 window: int | None = None,
                 alpha: float | None = None,
                 beta: float | None = None,
                 stem_padding: int | None = None,
                 td_layers: str | Sequence[int] | None = None,
                 difference: str = 'pool',
                 kernel_size: int = 3,
                 encoder_dtype: str | None = None,
                 with_cp: bool = False,
                 add_to_clip: bool = False,
                 adapters: Sequence[dict] = (),
                 check_switches: bool = True,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        values = _with_preset(
            preset, window=window, alpha=alpha, beta=beta,
            stem_padding=stem_padding, td_layers=td_layers)
        _check_counts(num_frames=num_frames, side_dims=side_dims,
                      num_heads=num_heads)
        _refuse_adapters(adapters)
        self.encoder = CLIPVisionEncoder(
            **_frozen_encoder(encoder, add_to_clip))
        arch = self.encoder.arch
        layers = _td_layers(values['td_layers'], arch.num_layers)
        if num_heads is None:
            num_heads = max(side_dims // 64, 1)
        _check_sizes(side_dims, num_heads, values['window'], kernel_size,
                     values['stem_padding'], arch.patch_size)
        if values['window'] == 1 and alpha is not None:
            raise ValueError(f'alpha={alpha} weighs frame differences, and '
                             'window=1 has none: remove alpha, or set window')
        if difference not in DIFFERENCES:
            raise ValueError(f'unknown difference {difference!r}: use '
                             f'{", ".join(DIFFERENCES)}')
        if difference == 'direct' and kernel_size != 3:
            raise ValueError(
                f'kernel_size={kernel_size} is of a pool or a convolution, '
                "and difference='direct' has none: remove kernel_size")
        if not layers and (difference, kernel_size) != ('pool', 3):
            raise ValueError(
                f'difference={difference!r} with kernel_size={kernel_size} '
                'is of the TD-Adapter, and no layer has one: remove it, or '
                'set td_layers')
        if encoder_dtype is not None and encoder_dtype not in _DTYPES:
            raise ValueError(f'unknown encoder_dtype {encoder_dtype!r}: use '
                             f'{" or ".join(_DTYPES)}, or leave it out')
        self.num_frames = num_frames
        self.window = values['window']
        self.encoder_dtype = encoder_dtype
        self.with_cp = with_cp
        if with_cp:
            return_freed_memory()

        self.stem = SideStem(
            side_dims, arch.patch_size, self.window, values['alpha'],
            values['beta'], values['stem_padding'])
        patches = arch.grid_size[0] * arch.grid_size[1]
        self.position_embedding = nn.Parameter(
            0.01 * torch.randn(patches, side_dims))
        self.taps = ModuleList(
            Tap(arch.embed_dims, side_dims) for _ in range(arch.num_layers))
        self.blocks = ModuleList(
            SideBlock(
                side_dims, num_heads, mlp_ratio,
                TemporalBranch(
                    side_dims,
                    DifferenceGate(side_dims, difference, kernel_size)
                    if layer in layers else None))
            for layer in range(arch.num_layers))
        self.post_norm = nn.BatchNorm1d(side_dims)
        self.to_clip = None
        if add_to_clip:
            self.to_clip = nn.Linear(side_dims, self.encoder.output_dims)
            nn.init.zeros_(self.to_clip.weight)
            nn.init.zeros_(self.to_clip.bias)
        refuse_partial_load(self)
        remember_switches(self, check_switches, side_switches(
            num_frames=num_frames, num_heads=num_heads,
            window=self.window, alpha=values['alpha'], beta=values['beta'],
            stem_padding=values['stem_padding'], td_layers=layers,
            difference=difference, kernel_size=kernel_size,
            clip_heads=arch.num_heads, act=self.encoder.act,
            out_type=self.encoder.out_type if add_to_clip else None))

    def forward(self, x: Tensor) -> Tensor:
        """Encode clips.

        Args:
            x (Tensor): ``(B, 3, T*window, H, W)``.

        Returns:
            Tensor: ``(B, T, D)``, or ``(B, T, output_dims)`` with
            ``add_to_clip``.

        Raises:
            ValueError: If the input is not a batch of RGB clips with
                ``num_frames`` windows, or too small for batch statistics.
        """
        self._check_clip(x)
        side = _SideRun(self, x)
        centres = x[:, :, self.window // 2::self.window]  # (B, 3, T, H, W)
        frames = centres.transpose(1, 2).flatten(0, 1)
        with self._encoder_precision(x):
            clip = self.encoder(frames, self.num_frames, [side])
            frozen = None if self.to_clip is None else (
                self.encoder.class_features(clip.tokens, clip.layout))
        tokens = clip.states[0][1]  # (B*T, N, D)
        tokens = self.post_norm(tokens.flatten(0, 1)).view_as(tokens)
        x = tokens.mean(dim=1).unflatten(0, (-1, self.num_frames))
        if self.to_clip is None:
            return x
        return frozen + self.to_clip(x)

    def _check_clip(self, x: Tensor) -> None:
        if x.dim() != 5 or x.shape[1] != 3:
            raise ValueError(
                f'SideCLIPViT reads RGB clips (B, 3, T*window, H, W), got '
                f"{tuple(x.shape)}: set input_format='NCTHW' in FormatShape")
        wanted = self.num_frames * self.window
        if x.shape[2] != wanted:
            raise ValueError(
                f'a clip of {x.shape[2]} frames does not hold num_frames='
                f'{self.num_frames} windows of window={self.window}, which '
                f'are {wanted}: set clip_len={self.num_frames} in the sampler'
                + (f' and widen it by LocalWindow(window={self.window})'
                   if self.window > 1 else ' and leave LocalWindow out'))
        values = (x.shape[0] * self.num_frames
                  * self.position_embedding.shape[0])
        if self.training and values == 1:
            raise ValueError(
                'one patch of one frame of one clip gives BatchNorm a single '
                'value per channel, which has no variance: train with more '
                'clips per batch, or larger frames')

    def _encoder_precision(self, x: Tensor) -> AbstractContextManager:
        """Autocast for CLIP alone; the side network keeps what is around."""
        if self.encoder_dtype is None or x.is_meta:
            return nullcontext()
        return torch.autocast(x.device.type, _DTYPES[self.encoder_dtype])

    def side_step(self, x: Tensor, tap: Tensor, layer: int,
                  layout: TokenLayout) -> Tensor:
        """One side block.

        Args:
            x (Tensor): Side tokens ``(B*T, N, D)``.
            tap (Tensor): CLIP's tokens after block ``layer``, normalised,
                ``(B*T, 1+N, W)``.
            layer (int): Index of the block.
            layout (TokenLayout): Frames and grid.

        Returns:
            Tensor: ``(B*T, N, D)``.
        """
        clip = self.taps[layer](tap)  # (B*T, 1+N, D)
        x = 0.5 * (x + clip[:, 1:])
        return self.blocks[layer](
            x, clip[:, :1], self.position_embedding, layout)


class _SideRun:
    """One pass of the side network; the encoder calls it as a reader.

    Args:
        side (SideCLIPViT): The network.
        clip (Tensor): ``(B, 3, T*window, H, W)``.
    """

    def __init__(self, side: SideCLIPViT, clip: Tensor) -> None:
        self.side = side
        self.clip = clip
        self.recompute = side.with_cp and torch.is_grad_enabled()
        #: Nothing inside the encoder trains.
        self.first_trained_layer = len(side.blocks)
        device = clip.device.type
        # The precision around the network, which CLIP may not share.
        self.precision = nullcontext() if clip.is_meta else torch.autocast(
            device, torch.get_autocast_dtype(device),
            torch.is_autocast_enabled(device))

    def at(self, layer: int) -> Dict[str, List[Any]]:
        """This reader follows every block."""
        return dict(reader=[self])

    def __call__(self, x: Tensor, layout: TokenLayout, layer: int,
                 state: Tensor | None) -> Tensor:
        """Run side block ``layer`` on the tokens of CLIP block ``layer``."""
        with self.precision:
            if state is None:
                state = self._run(self.side.stem, self.side.stem, self.clip)
            tap = self.side.taps[layer].normalise(x)
            return self._run(self.side.blocks[layer], self.side.side_step,
                             state, tap, layer, layout)

    def _run(self, module: nn.Module, function: Any, *args: Any) -> Tensor:
        if not self.recompute:
            return function(*args)
        return recompute(function, args, [module])


def _with_preset(preset: str, **given: Any) -> Dict[str, Any]:
    if preset not in PRESETS:
        raise ValueError(f'unknown preset {preset!r}: use '
                         f'{", ".join(PRESETS)}')
    return {**PRESETS[preset],
            **{key: value for key, value in given.items()
               if value is not None}}


def _frozen_encoder(encoder: dict, add_to_clip: bool) -> dict:
    encoder = dict(encoder)
    name = encoder.pop('type', None)
    if name not in (None, 'CLIPVisionEncoder'):
        raise ValueError(
            f'SideCLIPViT reads the tokens of each frame, and {name} has '
            'none: use a CLIPVisionEncoder (no type needed), or CLIPViT with '
            f'frozen=True and adapters in {name}')
    fixed: dict[str, Any] = dict(
        frozen=True, post_norm=add_to_clip, project=add_to_clip)
    if not add_to_clip:
        fixed['out_type'] = 'cls_token'  # of features that nobody reads
    for key, value in fixed.items():
        if encoder.get(key, value) != value:
            reason = ('adds to the features of' if add_to_clip else
                      'reads the blocks of')
            raise ValueError(
                f'{key}={encoder[key]!r} in encoder, but a side network '
                f'{reason} a frozen CLIP, {key}={value!r}: remove it, or use '
                'CLIPViT')
    return {**encoder, **fixed}


def _refuse_adapters(adapters: Sequence[dict]) -> None:
    if adapters:
        raise ValueError(
            f'{adapters[0].get("type")} cannot sit inside the CLIP that a '
            'side network reads: it would train, which sends gradients '
            'through the frozen encoder, and one that merges frames leaves '
            'fewer of them than the side tokens have: put a neck such as '
            'MoTE behind SideCLIPViT, or use the adapter in CLIPViT')


def _td_layers(layers: str | Sequence[int], num_layers: int) -> List[int]:
    if layers == 'all':
        return list(range(num_layers))
    if isinstance(layers, (list, tuple)) and all(
            isinstance(layer, int) and 0 <= layer < num_layers
            for layer in layers):
        return list(layers)
    raise ValueError(
        f"td_layers={layers!r} is neither 'all' nor a list of side blocks "
        f'from 0 to {num_layers - 1}: use 0-based indices')


def _check_counts(**counts: Any) -> None:
    for name, value in counts.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f'{name}={value!r} is no count: give a whole '
                             'number of at least 1')


def _check_sizes(side_dims: int, num_heads: int, window: int,
                 kernel_size: int, padding: int, patch_size: int) -> None:
    if side_dims % num_heads:
        raise ValueError(
            f'side_dims={side_dims} is not divisible by num_heads='
            f'{num_heads}: choose a multiple of it, or another num_heads')
    if side_dims % 16:
        raise ValueError(
            f'side_dims={side_dims} is not divisible by 16, the reduction of '
            'the TD-Adapter: choose a multiple such as 128, 320 or 512')
    for name, value in (('window', window), ('kernel_size', kernel_size)):
        if not isinstance(value, int) or value < 1 or value % 2 == 0:
            raise ValueError(
                f'{name}={value!r} has no frame in its middle: choose an odd '
                'number such as 3 or 5')
    if not isinstance(padding, int) or not 0 <= padding < patch_size / 2:
        raise ValueError(
            f'stem_padding={padding} is not between 0 and half a patch of '
            f'{patch_size} pixels: use 1 (TDS-CLIP) or 0 (Side4Video)')
