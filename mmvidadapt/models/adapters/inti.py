"""InTI: *Dynamic and Compressive Adaptation of Transformers From Images to
Videos*, ECCV 2024. No code was released; numbers in brackets are equations.
"""

from typing import Any, Dict, List, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from ..clip.layout import TokenLayout
from ..precision import no_autocast
from .depthwise import depthwise_conv3d
from .frame_pairs import FramePairs

CONTEXTS = ('cube', 'frame', 'global')
FUSIONS = ('sep', 'add', 'cat')
HEADS = ('softmax', 'sigmoid', 'attention')
CUBES = ('pw_dw_pw', 'dw')
PAIRINGS = ('concat', 'mean')


def _linear(in_dims: int, out_dims: int) -> nn.Linear:
    linear = nn.Linear(in_dims, out_dims)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def _init_depthwise(conv: Union[nn.Conv1d, nn.Conv3d]) -> None:
    # A kernel sums only 3 or 27 products: with the 0.02 of the linear layers
    # the signal would shrink by a factor of ten or more at every convolution.
    fan_in = conv.weight[0].numel()
    nn.init.trunc_normal_(conv.weight, std=fan_in**-0.5)
    nn.init.zeros_(conv.bias)


def _normalise(x: Tensor) -> Tensor:
    """LayerNorm without affine; half precision in gives half out."""
    with no_autocast(x):
        return F.layer_norm(x, x.shape[-1:])


def _for_matmul(x: Tensor) -> Tensor:
    """Cast once to the type that autocast would cast to at every use."""
    if not x.is_meta and torch.is_autocast_enabled(x.device.type):
        return x.to(torch.get_autocast_dtype(x.device.type))
    return x


class _TokenTransform(nn.Module):
    """``T(Cin -> Cout)``: LayerNorm, linear, GELU (Sec. 3.3).

    Args:
        in_dims (int): ``Cin``.
        out_dims (int): ``Cout``.
    """

    def __init__(self, in_dims: int, out_dims: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_dims)
        self.fc = _linear(in_dims, out_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., Cin)`` to ``(..., Cout)``."""
        return F.gelu(self.fc(self.norm(x)))


def _fold(norm: nn.LayerNorm, fc: nn.Linear) -> Tuple[Tensor, Tensor]:
    """The linear layer that does ``fc(norm(x))`` on normalised tokens.

    ``W (g n + b) + c = (W g) n + (W b + c)``. Transforms of the same tokens
    then share one normalisation, and the affine parts touch the weights,
    which are smaller than the tokens.

    Args:
        norm (nn.LayerNorm): Affine ``g``, ``b``.
        fc (nn.Linear): ``W``, ``c``.

    Returns:
        tuple[Tensor, Tensor]: Weight and bias.
    """
    return (fc.weight * norm.weight,
            fc.bias + (fc.weight * norm.bias).sum(dim=1))


class _CubeContext(nn.Module):
    """``F_cube`` (10): depth-wise convolution over the neighbourhood.

    Args:
        dims (int): Channels ``C``.
        cube (str): ``'pw_dw_pw'`` or ``'dw'``.
        pairing (str): ``'concat'`` or ``'mean'``, for ``'pw_dw_pw'``.
    """

    def __init__(self, dims: int, cube: str, pairing: str) -> None:
        super().__init__()
        self.pointwise = cube == 'pw_dw_pw'
        self.dw = nn.Conv3d(dims, dims, 3, padding=1, groups=dims)
        _init_depthwise(self.dw)
        if self.pointwise:
            self.norm = nn.LayerNorm(dims)
            self.pw1 = _linear(dims, dims)
            self.pw2 = _linear(dims, dims)
        self.pair = (
            _TokenTransform(dims, dims // 2)
            if self.pointwise and pairing == 'concat' else None)

    def forward(self, patches: Sequence[Tensor], normed: Sequence[Tensor],
                layout: TokenLayout) -> List[Tensor]:
        """Describe the surroundings of each pair.

        Args:
            patches (Sequence[Tensor]): Patch tokens of the even and of the
                odd frames, ``(B, T/2, N, C)`` each.
            normed (Sequence[Tensor]): The same, normalised, for products.
            layout (TokenLayout): Layout of the frames.

        Returns:
            list[Tensor]: ``F_cube`` in pieces ``(B, T/2, N, .)`` whose
            channels, joined, are ``C``.
        """
        if not self.pointwise:
            x = self._convolve(patches, layout, 2)
            return [x.unflatten(0, (-1, patches[0].shape[1]))]
        weight, bias = _fold(self.norm, self.pw1)
        x = self._convolve([F.linear(n, weight, bias) for n in normed],
                           layout, 1)
        x = self.pw2(x)
        if self.pair is not None:
            x = F.gelu(
                F.linear(_normalise(x), *_fold(self.pair.norm, self.pair.fc)))
        even, odd = x.unflatten(0, (-1, normed[0].shape[1], 2)).unbind(2)
        return [(even + odd) * 0.5] if self.pair is None else [even, odd]

    def _convolve(self, pair: Sequence[Tensor], layout: TokenLayout,
                  temporal_stride: int) -> Tensor:
        """The depth-wise convolution, ``(B*T', N, C)``."""
        x = torch.stack(list(pair), dim=2)  # (B, T/2, 2, N, C)
        layout = layout.with_frames(2 * x.shape[1])
        return depthwise_conv3d(
            x.flatten(0, 2), self.dw.weight, self.dw.bias, layout,
            temporal_stride)


class _FrameContext(nn.Module):
    """``F_frame`` (11), from the class tokens of a pair.

    Args:
        dims (int): Channels ``C``.
        shared (bool): One transform for both frames of a pair.
    """

    def __init__(self, dims: int, shared: bool) -> None:
        super().__init__()
        self.frames = nn.ModuleList(
            _TokenTransform(dims, dims // 2) for _ in range(2 - shared))
        self.joint = _TokenTransform(dims, dims)

    def forward(self, cls: Sequence[Tensor]) -> Tensor:
        """Map two times ``(B, T/2, C)`` to ``(B, T/2, C)``."""
        halves = [self.frames[0](cls[0]), self.frames[-1](cls[1])]
        return self.joint(torch.cat(halves, dim=-1))


class _GlobalContext(nn.Module):
    """``F_global`` (12, appendix B), from the class tokens of the clip.

    ::

        [linear] -> (depth-wise conv -> max-pool -> GELU) twice
                 -> depth-wise conv -> mean over time -> [linear] -> GELU

    Args:
        dims (int): Channels ``C``.
        pointwise (int): 2 for the linear layers in brackets, 0 for the text.
    """

    def __init__(self, dims: int, pointwise: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(dims, dims, 3, padding=1, groups=dims)
            for _ in range(3))
        for conv in self.convs:
            _init_depthwise(conv)
        self.pw1 = _linear(dims, dims) if pointwise else nn.Identity()
        self.pw2 = _linear(dims, dims) if pointwise else nn.Identity()

    def forward(self, cls: Tensor) -> Tensor:
        """Map ``(B, T, C)`` to ``(B, 1, C)``."""
        x = self.pw1(cls).transpose(1, 2)  # (B, C, T)
        for conv in self.convs[:2]:
            # Two frames pool to one, and one frame to itself.
            x = F.gelu(F.max_pool1d(conv(x), 2, ceil_mode=True))
        x = self.convs[2](x).mean(dim=2)
        return F.gelu(self.pw2(x)).unsqueeze(1)


@MODELS.register_module()
class InTI(FramePairs):
    """Inter-frame token interpolation: merge neighbouring frames by weights
    that are predicted for every token.

    ::

        X + sigma P (8) -+-> tokens, cube, frames, clip (9-12)
                         |       -> two logits per pair of tokens (13)
                         |       -> softmax: a, b (6)
                         +-> Z_j = a X_{2j} + b X_{2j+1} (7)

    The class token is a token like the others; it has no place on the grid,
    so its ``F_cube`` is zero. The last layer starts at zero: every weight is
    then one half and InTI is the mean of each pair. (A consequence: at the
    very first step ``P`` and all layers before the last one get gradients of
    zero. The columns of ``fc1`` that read an empty context, with
    ``contexts=()``, always do.)

    Defaults are design F of the project's study of the paper's tables, which
    reproduces their parameter counts. Design D is ``global_pointwise=0``. The
    literal text is ``shared_token=True, cube='dw', global_pointwise=0``.

    Source: *Dynamic and Compressive Adaptation of Transformers From Images to
    Videos*, ECCV 2024, Sec. 3.2-3.3, Eq. (6)-(13), appendix B, Table 5.

    Args:
        embed_dims (int): Token channels ``C``, even.
        num_frames (int): Frames ``T`` that enter; ``P`` has one row for each
            and is interpolated linearly when a clip or a checkpoint has
            another number.
        contexts (Sequence[str]): Levels beside the token itself, among
            ``'cube'``, ``'frame'`` and ``'global'`` (Table 5a).
        fusion (str): ``'sep'``: token and summed contexts side by side, input
            ``2C``, also without contexts; ``'add'``: all summed, ``C``;
            ``'cat'``: all side by side, ``C`` each (Table 5b).
        head (str): ``'softmax'`` over two logits; ``'sigmoid'`` of each, with
            no sum constraint; ``'attention'``: the hidden layer holds a
            feature of ``C/2`` for either token, the logits are their dot
            products with one learned vector, softmax (Table 5b).
        cube (str): ``'pw_dw_pw'``: LayerNorm, point-wise, depth-wise 3x3x3
            and point-wise convolution of every frame, then pairing; ``'dw'``:
            depth-wise 3x3x3 alone, of temporal stride 2.
        cube_pairing (str): For ``'pw_dw_pw'``: ``'concat'`` of
            ``T(C -> C/2)`` of both frames, or ``'mean'``.
        shared_token (bool): One ``T(C -> C/2)`` for both frames of a pair,
            for the token and the frame level, instead of one for each.
        global_pointwise (int): Linear layers around the global level's
            depth-wise convolutions, 2 or 0.
        layer (int | None): Block in front of which it sits; only for
            messages.
        pad_odd (bool): Repeat the last frame of a clip when ``T`` is odd,
            instead of refusing it.

    Shapes:
        - Input: ``(B*T, 1+N, C)`` with even ``T``.
        - Output: ``(B*T/2, 1+N, C)`` and a layout of ``T/2`` frames.

    Raises:
        ValueError: If an option is unknown, ``embed_dims`` is odd, or ``T``
            is odd and ``pad_odd`` is off.
    """

    def __init__(self,
                 embed_dims: int,
                 num_frames: int,
                 contexts: Sequence[str] = CONTEXTS,
                 fusion: str = 'sep',
                 head: str = 'softmax',
                 cube: str = 'pw_dw_pw',
                 cube_pairing: str = 'concat',
                 shared_token: bool = False,
                 global_pointwise: int = 2,
                 layer: int | None = None,
                 pad_odd: bool = False) -> None:
        super().__init__(num_frames, layer, pad_odd)
        for name, value, known in (
                ('fusion', fusion, FUSIONS), ('head', head, HEADS),
                ('cube', cube, CUBES),
                ('cube_pairing', cube_pairing, PAIRINGS),
                ('global_pointwise', global_pointwise, (0, 2)),
                *(('contexts', context, CONTEXTS) for context in contexts)):
            if value not in known:
                raise ValueError(f'InTI has no {name}={value!r}: use '
                                 f'{" or ".join(map(repr, known))}')
        if embed_dims % 2:
            raise ValueError(f'InTI halves its channels, but embed_dims='
                             f'{embed_dims} is odd: use an even width')
        dims = embed_dims
        self.head = head
        self.position = nn.Parameter(
            torch.empty(num_frames + num_frames % 2, 1, dims))
        # At zero, like sigma, neither would ever get a gradient.
        nn.init.normal_(self.position, std=0.02)
        self.sigma = nn.Parameter(torch.zeros(1))
        self.token = nn.ModuleList(
            _TokenTransform(dims, dims // 2) for _ in range(2 - shared_token))
        self.context = nn.ModuleDict()
        if 'cube' in contexts:
            self.context['cube'] = _CubeContext(dims, cube, cube_pairing)
        if 'frame' in contexts:
            self.context['frame'] = _FrameContext(dims, shared_token)
        if 'global' in contexts:
            self.context['global'] = _GlobalContext(dims, global_pointwise)
        # Where each level enters fc1, in units of C columns.
        self._slots = _slots(fusion, list(self.context))
        width = 2 if fusion == 'sep' else 1 + max(self._slots.values())
        self.fc1 = _linear(width * dims, dims)
        if head == 'attention':
            self.query = nn.Parameter(torch.zeros(dims // 2))
        else:
            self.fc2 = nn.Linear(dims, 2)
            nn.init.zeros_(self.fc2.weight)
            nn.init.zeros_(self.fc2.bias)

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str,
                              *args: Any) -> None:
        """Load; ``P`` of another frame count is interpolated first."""
        key = prefix + 'position'
        saved = state_dict.get(key)
        if (isinstance(saved, Tensor) and saved.dim() == 3
                and saved.shape[1:] == self.position.shape[1:]):
            state_dict[key] = _resize(saved, len(self.position))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> Tuple[Tensor, TokenLayout]:
        """Merge the pairs.

        Args:
            x (Tensor): ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.
            block (nn.Module): Not used.

        Returns:
            tuple[Tensor, TokenLayout]: ``(B*T/2, 1+N, C)`` and their layout.

        Raises:
            ValueError: If ``T`` is odd and ``pad_odd`` is off.
        """
        cls, patches = self._add_position(x, layout)
        logits = self._logits(cls, patches, layout)
        merged = [  # Eq. (7)
            self._merge(pair, logit)
            for pair, logit in zip((cls, patches), logits, strict=True)
        ]
        x = torch.cat(merged, dim=2)  # (B, T/2, 1+N, C)
        return x.flatten(0, 1), layout.with_frames(x.shape[1])

    def predict_weights(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """The weights of the even and the odd frame of every pair (6).

        Args:
            x (Tensor): ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.

        Returns:
            Tensor: ``(B, T/2, 1+N, 2)``, float32.

        Raises:
            ValueError: If ``T`` is odd and ``pad_odd`` is off.
        """
        cls, patches = self._add_position(x, layout)
        logits = self._logits(cls, patches, layout)
        return self._normalise_logits(torch.cat(logits, dim=2))

    def _add_position(self, x: Tensor,
                      layout: TokenLayout) -> Tuple[List[Tensor], ...]:
        """Eq. (8), for class and patch tokens of even and odd frames.

        Returns:
            tuple: Class tokens ``(B, T/2, 1, C)`` of the even and of the odd
            frames, and patch tokens ``(B, T/2, N, C)``.
        """
        pairs = self.split_pairs(x, layout)
        position = _resize(self.position, 2 * pairs.shape[1])
        position = (self.sigma * position).to(x.dtype).unflatten(0, (-1, 2))
        frames = [pairs[:, :, i] for i in range(2)]
        # The sums are the contiguous copies that all that follows reads.
        return tuple([frame[:, :, part] + position[:, i]
                      for i, frame in enumerate(frames)]
                     for part in (slice(0, 1), slice(1, None)))

    def _logits(self, cls: List[Tensor], patches: List[Tensor],
                layout: TokenLayout) -> List[Tensor]:
        """Logits of the class tokens ``(B, T/2, 1, 2)`` and of the patches
        ``(B, T/2, N, 2)``, Eq. (9)-(13).

        ``fc1 [token, context] = W_a token + W_b context``: contexts that all
        tokens of a frame share are multiplied once per frame.
        """
        dims = self.position.shape[-1]
        columns = self.fc1.weight.split(dims, dim=1)
        shared = self.fc1.bias
        if 'frame' in self.context:
            frame = self.context['frame']([c.squeeze(2) for c in cls])
            shared = shared + F.linear(frame.unsqueeze(2),
                                       columns[self._slots['frame']])
        if 'global' in self.context:
            clip = self.context['global'](torch.cat(cls, dim=2).flatten(1, 2))
            shared = shared + F.linear(clip.unsqueeze(2),
                                       columns[self._slots['global']])
        folded = [_fold(t.norm, t.fc) for t in self.token]
        logits = []
        # Not `pair is patches`: torch 2.11 cannot compile it.
        for pair, cubed in ((cls, False), (patches, 'cube' in self.context)):
            normed = [_for_matmul(_normalise(x)) for x in pair]
            levels = [[F.gelu(F.linear(n, *folded[i % len(folded)]))
                       for i, n in enumerate(normed)]]  # Eq. (9)
            if cubed:
                levels.append(
                    self.context['cube'](patches, normed, layout))
            hidden = self._fuse(levels, columns)
            hidden = F.gelu(hidden.add_(shared))
            if self.head == 'attention':
                logits.append(hidden.unflatten(-1, (2, -1)) @ self.query)
            else:
                logits.append(self.fc2(hidden))
        return logits

    def _fuse(self, levels: List[List[Tensor]],
              columns: Sequence[Tensor]) -> Tensor:
        """``fc1`` of the token and cube levels, without bias."""
        if len(levels) == 2 and self._slots['cube'] == 0:
            token, cube = (torch.cat(pieces, dim=-1) for pieces in levels)
            return F.linear(token + cube, columns[0])
        # The cube's columns follow the token's.
        x = torch.cat([piece for level in levels for piece in level], dim=-1)
        return F.linear(x, self.fc1.weight[:, :x.shape[-1]])

    def _normalise_logits(self, logits: Tensor) -> Tensor:
        """Weights from logits, in float32."""
        if self.head == 'sigmoid':
            return logits.float().sigmoid()
        return logits.float().softmax(dim=-1)

    def _merge(self, pair: List[Tensor], logits: Tensor) -> Tensor:
        """``a X_{2j} + b X_{2j+1}`` (7)."""
        even, odd = pair
        weights = self._normalise_logits(logits).to(even.dtype)
        a, b = weights.unsqueeze(-2).unbind(-1)
        if self.head == 'sigmoid':
            return a * even + b * odd
        # a = 1 - b: equal frames stay equal to the last bit.
        return torch.lerp(even, odd, b)


def _slots(fusion: str, contexts: Sequence[str]) -> Dict[str, int]:
    """Which ``C`` columns of ``fc1`` read each level; the token reads 0."""
    if fusion == 'cat':
        return {'token': 0, **{c: 1 + i for i, c in enumerate(contexts)}}
    slot = 1 if fusion == 'sep' else 0
    return {'token': 0, **{c: slot for c in contexts}}


def _resize(position: Tensor, num_frames: int) -> Tensor:
    """Interpolate ``(T, 1, C)`` linearly to ``(num_frames, 1, C)``."""
    if len(position) == num_frames:
        return position
    resized = F.interpolate(
        position.permute(1, 2, 0).float(), size=num_frames, mode='linear',
        align_corners=False)
    return resized.permute(2, 0, 1).to(position.dtype)
