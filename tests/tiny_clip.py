"""A CLIP of a few thousand parameters, from open_clip, in every layout.

The layouts are restated here by hand, apart from the package's own tables,
so that an error there is not repeated.
"""

import open_clip
import torch
from torch import Tensor, nn

from mmvidadapt.models.clip import CLIPTextEncoder, CLIPVisionEncoder

VISION = dict(embed_dims=32, num_layers=2, num_heads=2, patch_size=16,
              image_size=32, output_dims=24)
TEXT = dict(embed_dims=16, num_layers=3, num_heads=2, output_dims=24,
            context_length=12, vocab_size=60)
TOKENS = torch.tensor([[58, 3, 4, 59, 0, 0], [58, 5, 6, 7, 8, 59]])

State = dict[str, Tensor]


def randomize(module: nn.Module) -> nn.Module:
    """Give every parameter and statistic a value that no default has."""
    with torch.no_grad():
        for param in module.parameters():
            param.normal_(std=0.2)
    return module


def reference(quick_gelu: bool = True, custom_text: bool = False,
              image_size: int = 32) -> nn.Module:
    """open_clip's model with the sizes above and random weights."""
    cls = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    model = cls(
        24,
        vision_cfg=dict(image_size=image_size, layers=2, width=32,
                        head_width=16, patch_size=16),
        text_cfg=dict(context_length=12, vocab_size=60, width=16, heads=2,
                      layers=3),
        quick_gelu=quick_gelu)
    return randomize(model).eval()


def frames(batch: int = 2, image_size: int = 32) -> Tensor:
    """Random frames, the same ones on every call."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, 3, image_size, image_size, generator=generator)


def padded_tokens() -> Tensor:
    """``TOKENS`` padded to the whole context, as open_clip wants them."""
    tokens = torch.zeros(2, 12, dtype=torch.long)
    tokens[:, :6] = TOKENS
    return tokens


def vision(**changes) -> CLIPVisionEncoder:
    """Our image encoder for these weights, loaded if ``weights`` is set."""
    encoder = CLIPVisionEncoder(**{
        **dict(arch=VISION, act='quick_gelu', project=True), **changes})
    encoder.init_weights()
    return encoder.eval()


def text(**changes) -> CLIPTextEncoder:
    """Our text encoder for these weights, loaded if ``weights`` is set."""
    encoder = CLIPTextEncoder(**{
        **dict(arch=TEXT, act='quick_gelu'), **changes})
    encoder.init_weights()
    return encoder.eval()


def image_features(encoder: CLIPVisionEncoder, images: Tensor) -> Tensor:
    """Features of single pictures, each a clip of one frame."""
    out = encoder(images, 1)
    return encoder.class_features(out.tokens, out.layout)[:, 0]


def to_hugging_face(state: State) -> State:
    """``CLIPModel.state_dict()`` of transformers for open_clip's weights."""
    new: State = {'logit_scale': state['logit_scale'],
                  'visual_projection.weight': state['visual.proj'].T,
                  'text_projection.weight': state['text_projection'].T}
    images = 'vision_model.embeddings.'
    new[images + 'class_embedding'] = state['visual.class_embedding']
    new[images + 'patch_embedding.weight'] = state['visual.conv1.weight']
    new[images + 'position_embedding.weight'] = state[
        'visual.positional_embedding']
    texts = 'text_model.embeddings.'
    new[texts + 'token_embedding.weight'] = state['token_embedding.weight']
    new[texts + 'position_embedding.weight'] = state['positional_embedding']
    for theirs, ours in (('vision_model.pre_layrnorm', 'visual.ln_pre'),
                         ('vision_model.post_layernorm', 'visual.ln_post'),
                         ('text_model.final_layer_norm', 'ln_final')):
        for kind in ('weight', 'bias'):
            new[f'{theirs}.{kind}'] = state[f'{ours}.{kind}']
    for tower, prefix, depth in (('vision_model', 'visual.', 2),
                                 ('text_model', '', 3)):
        for i in range(depth):
            ours = f'{prefix}transformer.resblocks.{i}.'
            theirs = f'{tower}.encoder.layers.{i}.'
            for kind in ('weight', 'bias'):
                parts = state[f'{ours}attn.in_proj_{kind}'].chunk(3)
                for name, part in zip('qkv', parts):
                    new[f'{theirs}self_attn.{name}_proj.{kind}'] = part
                for a, b in (('self_attn.out_proj', 'attn.out_proj'),
                             ('layer_norm1', 'ln_1'), ('layer_norm2', 'ln_2'),
                             ('mlp.fc1', 'mlp.c_fc'),
                             ('mlp.fc2', 'mlp.c_proj')):
                    new[f'{theirs}{a}.{kind}'] = state[f'{ours}{b}.{kind}']
    return {key: value.contiguous() for key, value in new.items()}
