"""The backbone of Recognizer3D: clips in, frame features out."""

from typing import Any, Dict, Sequence

from mmaction.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..adapters import AdapterStack
from ..clip.arch import vision_arch
from ..clip.viclip import ViCLIPVisionEncoder
from ..clip.vision_encoder import CLIPVisionEncoder
from ..strict_loading import refuse_partial_load


@MODELS.register_module()
class CLIPViT(BaseModule):
    """A CLIP image or video tower with adapters, over the frames of a clip.

    ::

        (B,3,T,H,W) -> frames (B*T,3,H,W) -> encoder + adapters
                    -> class tokens, means over patches (out_type of the
                       encoder), or what a reader makes of them
                    -> frame features (B,T',D)

    Args:
        encoder (dict): Arguments of :class:`CLIPVisionEncoder`, or with
            ``type='ViCLIPVisionEncoder'`` those of
            :class:`ViCLIPVisionEncoder` but ``num_frames``.
        num_frames (int): Frames of a clip; adapters are sized for it. In
            train mode clips must have as many; in eval mode they may have
            others, and adapters then resample what they learned per frame.
        adapters (Sequence[dict]): ``dict(type=..., layers=[...], ...)`` each.
        compile (bool | dict): Compile the blocks with ``torch.compile``, from
            torch 2.8 on; a dict is passed on to it.
        init_cfg (dict | None): mmengine's initialisation config.

    Shapes:
        - Input: ``(B, 3, T, H, W)``, normalised.
        - Output: ``(B, T', D)`` with ``T' = T / 2**k`` after ``k`` InTI, or
          ``(B, 1, D)`` with a video tower, or with a reader that reads out
          the clip.

    Raises:
        ValueError: If an encoder or adapter option is not valid, more than
            one reader wants to read out the clip, or a reader does and the
            encoder is to make frame features as well.
    """

    def __init__(self,
                 encoder: dict,
                 num_frames: int,
                 adapters: Sequence[dict] = (),
                 compile: bool | dict = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        cls, encoder = _encoder(encoder, num_frames)
        arch = vision_arch(encoder.get('arch', ''))
        #: Where adapters of the encoder sit, as :class:`AdapterStack` asks.
        self.place: Dict[str, Any] = dict(
            embed_dims=arch.embed_dims, num_heads=arch.num_heads,
            num_layers=arch.num_layers,
            num_frames=num_frames // (encoder.get('tubelet_size') or 1),
            grid_size=arch.grid_size, kind=cls.kind)
        stack = AdapterStack(adapters, **self.place)
        reads_out = [type(reader).__name__ for reader in stack.readers
                     if hasattr(reader, 'read_out')]
        if len(reads_out) > 1:
            raise ValueError('only one reader can read out the clip, got '
                             f'{" and ".join(reads_out)}: keep one')
        if reads_out:
            # The reader brings its own norm; ln_post would never train.
            for option in ('post_norm', 'project', 'out_type'):
                if encoder.get(option):
                    raise ValueError(
                        f'{option}={encoder[option]!r} has nothing to '
                        f'work on, because {reads_out[0]} reads out the clip: '
                        f'remove {option} from encoder')
            encoder['post_norm'] = False
        self.num_frames = num_frames
        self.encoder = cls(**encoder)
        self.adapters = stack
        self._guests: list[nn.Module] = []  # a list, so not registered
        refuse_partial_load(self)
        if compile:
            self.encoder.transformer.compile_blocks(
                **(compile if isinstance(compile, dict) else {}))

    def host(self, stack: nn.Module) -> None:
        """Run the adapters of another owner too, in every forward pass.

        They do not become part of this module: they are moved, saved and
        trained with their owner. At a point that they share with adapters
        of this backbone they come after these.

        Args:
            stack (nn.Module): An :class:`AdapterStack`.
        """
        self._guests.append(stack)

    @property
    def stacks(self) -> list[nn.Module]:
        """All that runs in a forward pass: its own adapters, and guests."""
        return [self.adapters, *self._guests]

    def forward(self, x: Tensor) -> Tensor:
        """Encode clips.

        Args:
            x (Tensor): ``(B, 3, T, H, W)``.

        Returns:
            Tensor: ``(B, T', D)``.

        Raises:
            ValueError: If the input is not a batch of RGB clips, or has
                another number of frames in train mode.
        """
        if x.dim() != 5 or x.shape[1] != 3:
            raise ValueError(
                f'CLIPViT reads RGB clips (B, 3, T, H, W), got '
                f"{tuple(x.shape)}: set input_format='NCTHW' in FormatShape")
        num_frames = x.shape[2]
        if self.training and num_frames != self.num_frames:
            raise ValueError(
                f'clips of {num_frames} frames do not train a CLIPViT built '
                f'for num_frames={self.num_frames}: change clip_len of the '
                'train pipeline or num_frames')
        frames = x.transpose(1, 2).flatten(0, 1)  # (B*T, 3, H, W)
        tokens, layout, states = self.encoder(
            frames, num_frames, stacks=self.stacks)
        for reader, state in states:
            if hasattr(reader, 'read_out'):
                return reader.read_out(state, tokens, layout)
        return self.encoder.class_features(tokens, layout)


def _encoder(encoder: dict, num_frames: int
             ) -> tuple[type[CLIPVisionEncoder], dict]:
    """The class of an encoder, and its arguments."""
    encoder = dict(encoder)
    name = encoder.pop('type', 'CLIPVisionEncoder')
    if name == 'CLIPVisionEncoder':
        return CLIPVisionEncoder, encoder
    if name != 'ViCLIPVisionEncoder':
        raise ValueError(
            f'CLIPViT runs no {name}: give a CLIPVisionEncoder (no type '
            'needed) or a ViCLIPVisionEncoder as encoder')
    if 'num_frames' in encoder:
        raise ValueError(
            f'num_frames={encoder["num_frames"]} in encoder is told by the '
            'backbone: set num_frames of CLIPViT, and remove it from encoder')
    return ViCLIPVisionEncoder, dict(encoder, num_frames=num_frames)
