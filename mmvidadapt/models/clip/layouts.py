"""The layouts in which CLIP weights are published, and ours.

Every file is brought to one set of names: OpenAI's, with the image (or
video) tower under ``visual.`` and the text tower under ``text.``. Each layout
has one table of renames for both towers; adding a layout is adding a row to
:data:`LAYOUTS`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: Start of the names of OpenAI's text tower, which has no prefix of its own.
_TEXT = (r'^(?=token_embedding\.|positional_embedding$|transformer\.'
         r'|ln_final\.|text_projection$)')


@dataclass(frozen=True)
class Layout:
    """How a family of files names the tensors of CLIP.

    Args:
        name (str): For messages.
        mark (str): Regular expression that a key of such a file matches.
        renames (tuple[tuple[str, str], ...]): Rows ``(pattern, new)`` for
            ``re.sub``, applied one after the other to every key. A name that
            ends in ``.T`` is transposed, names that end in ``.q``, ``.k``
            and ``.v`` are packed, and one that ends in ``.gamma`` is the
            scale of a linear layer's output, which its tensors take up.
        others (str): Regular expression of the whole keys that belong to no
            tower.
        act (str, optional): Activation of every file of this layout.
        config (str, optional): Name of a file beside the weights that states
            the activation.
        refused (tuple[tuple[str, str], ...]): Rows ``(pattern, sentence)``: a
            file with such a key is another model, and what to use instead.
    """

    name: str
    mark: str
    renames: tuple[tuple[str, str], ...]
    others: str = r'logit_scale|logit_bias'
    act: str | None = None
    config: str | None = None
    refused: tuple[tuple[str, str], ...] = ()


_MMPRETRAIN = (
    (r'^(backbone\.|visual\.)?(?=cls_token$|pos_embed$|patch_embed\.'
     r'|pre_norm\.|layers\.|ln[12]\.|rel_pos_bias\.)', 'visual.'),
    (r'^visual\.cls_token$', 'visual.class_embedding'),
    (r'^visual\.pos_embed$', 'visual.positional_embedding'),
    (r'^visual\.patch_embed\.projection\.', 'visual.conv1.'),
    (r'^visual\.pre_norm\.', 'visual.ln_pre.'),
    # Two norms, of which the first is for class tokens.
    (r'^visual\.ln1\.', 'visual.ln_class.'),
    (r'^visual\.ln2\.', 'visual.ln_mean.'),
    (r'^visual_proj\.proj$', 'visual.proj'),
    (r'^visual\.layers\.', 'visual.transformer.resblocks.'),
    (r'\.ln([12])\.', r'.ln_\1.'),
    (r'\.attn\.qkv\.', '.attn.in_proj_'),
    (r'\.attn\.proj\.', '.attn.out_proj.'),
    (r'(\.attn\.gamma1\.(weight|scale)|\.gamma_1)$', '.attn.out_proj.gamma'),
    (r'(\.ffn\.gamma2\.(weight|scale)|\.gamma_2)$', '.mlp.c_proj.gamma'),
    (r'\.relative_position_bias_table$', '.table'),
    (r'\.attn\.table$', '.attn.rel_pos_bias.table'),
    (r'\.ffn\.layers\.0\.0\.', '.mlp.c_fc.'),
    (r'\.ffn\.layers\.1\.', '.mlp.c_proj.'),
    (_TEXT, 'text.'),
)

#: In the order in which they are tried.
LAYOUTS = (
    Layout(
        name='Hugging Face CLIP',
        mark=r'^(vision_model|text_model)\.embeddings\.',
        renames=(
            (r'^vision_model\.', 'visual.'),
            (r'^text_model\.', 'text.'),
            (r'^visual_projection\.weight$', 'visual.proj.T'),
            (r'^text_projection\.weight$', 'text.text_projection.T'),
            (r'\.embeddings\.class_embedding$', '.class_embedding'),
            (r'\.embeddings\.patch_embedding\.', '.conv1.'),
            (r'\.embeddings\.token_embedding\.', '.token_embedding.'),
            (r'\.embeddings\.position_embedding\.weight$',
             '.positional_embedding'),
            (r'\.pre_layrnorm\.', '.ln_pre.'),
            (r'\.post_layernorm\.', '.ln_post.'),
            (r'\.final_layer_norm\.', '.ln_final.'),
            (r'\.encoder\.layers\.', '.transformer.resblocks.'),
            (r'\.layer_norm([12])\.', r'.ln_\1.'),
            (r'\.self_attn\.([qkv])_proj\.(weight|bias)$',
             r'.attn.in_proj_\2.\1'),
            (r'\.self_attn\.out_proj\.', '.attn.out_proj.'),
            (r'\.mlp\.fc1\.', '.mlp.c_fc.'),
            (r'\.mlp\.fc2\.', '.mlp.c_proj.'),
        ),
        others=r'logit_scale|.*\.position_ids',
        config='config.json'),
    Layout(
        name="mmpretrain's CLIP",
        mark=r'^visual\.patch_embed\.',
        renames=_MMPRETRAIN,
        others=r'logit_scale|data_preprocessor\..*',
        act='quick_gelu'),
    Layout(
        name="mmpretrain's VisionTransformer",
        mark=r'^(backbone\.)?patch_embed\.projection\.',
        renames=_MMPRETRAIN,
        others=(r'(head|neck|target_generator|data_preprocessor)\..*'
                r'|(backbone\.)?mask_token|.*\.relative_position_index'),
        refused=((
            r'^(backbone\.)?layers\.\d+\.ffn\.w12\.',
            'a ViT with SwiGLU layers, which no encoder here has: use one '
            'with GELU, such as MAE, DINO, DeiT or BEiT'), )),
    Layout(
        name='ViCLIP',
        mark=r'^vision_encoder\.class_embedding$',
        renames=((r'^vision_encoder\.', 'visual.'),
                 (r'^text_encoder\.', 'text.')),
        others='temp',
        act='quick_gelu'),
    Layout(
        name='a bare image encoder',
        mark=r'^class_embedding$',
        renames=((r'^', 'visual.'), )),
    Layout(
        name="OpenAI's CLIP",
        mark=r'^input_resolution$',
        renames=((_TEXT, 'text.'), ),
        others=r'logit_scale|input_resolution|context_length|vocab_size',
        act='quick_gelu'),
    Layout(
        name='CLIP in the names of OpenAI and open_clip',
        mark=r'^(visual\.conv1\.weight|(text\.)?token_embedding\.weight)$',
        renames=((_TEXT, 'text.'), ),
        others=r'logit_scale|logit_bias|(text\.)?attn_mask',
        config='open_clip_config.json'),
    # Inside a larger model, whose other parts are none of our business: both
    # tables depend on where its encoders sit.
    Layout(
        name='a checkpoint of mmvidadapt',
        mark=r'\.(class_embedding|token_embedding\.weight)$',
        renames=()),
)

def detect_layout(keys: Mapping[str, Tensor], source: str) -> Layout:
    """The layout of a file, from its keys.

    Args:
        keys (Mapping[str, Tensor]): Its tensors by name.
        source (str): The file, for messages.

    Returns:
        Layout: The first that has its mark in the file.

    Raises:
        ValueError: If no layout fits.
    """
    for layout in LAYOUTS:
        if any(re.search(layout.mark, key) for key in keys):
            return layout if layout.renames else _inner(layout, keys, source)
    first = ', '.join(list(keys)[:3])
    raise ValueError(
        f'{source} holds another model, not a ViT CLIP in a known layout (it '
        f'begins with {first}): give weights of OpenAI, open_clip, Hugging '
        'Face, mmpretrain, ViCLIP or mmvidadapt')


def _inner(layout: Layout, keys: Mapping[str, Tensor],
           source: str) -> Layout:
    """The layout of a model that has our encoders as parts."""
    renames = []
    for tower, mark in (('visual.', 'class_embedding'),
                        ('text.', 'token_embedding.weight')):
        found = sorted(key[:-len(mark)] for key in keys
                       if key.endswith('.' + mark))
        if len(found) > 1:
            raise ValueError(
                f'{source} holds several towers ({", ".join(found)}): save '
                'the state dict of the one that you want to a file of its own')
        renames += [(f'^{re.escape(prefix)}', tower) for prefix in found]
    elsewhere = ''.join(f'(?!{pattern})' for pattern, _ in renames)
    return replace(layout, renames=tuple(renames), others=f'{elsewhere}.*')


def split_towers(tensors: Mapping[str, Tensor], layout: Layout,
                 source: str) -> dict[str, dict[str, Tensor]]:
    """Rename a file's tensors and sort them by tower.

    Args:
        tensors (Mapping[str, Tensor]): The file's tensors by name.
        layout (Layout): Its layout.
        source (str): The file, for messages.

    Returns:
        dict[str, dict[str, Tensor]]: ``'visual'`` and ``'text'``, each with
        OpenAI's names; a tower that is not in the file is empty.

    Raises:
        ValueError: If a key is neither part of a tower nor known to be
            something else, or that of a model that is refused.
    """
    for pattern, sentence in layout.refused:
        if any(re.search(pattern, key) for key in tensors):
            raise ValueError(f'{source} is {sentence}')
    towers: dict[str, dict[str, Tensor]] = dict(visual={}, text={})
    for key, value in tensors.items():
        if re.fullmatch(layout.others, key):
            continue
        name = key
        for pattern, new in layout.renames:
            name = re.sub(pattern, new, name)
        tower, _, rest = name.partition('.')
        if tower not in towers or not rest:
            raise ValueError(
                f'{source} looks like {layout.name} but also holds {key}, '
                'which no plain ViT CLIP has: give weights of a plain ViT '
                'CLIP')
        towers[tower][rest] = value
    return {tower: _reshape(found) for tower, found in towers.items()}


def _reshape(tower: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pack projections, transpose, fold scales, drop axes of length one."""
    tensors: dict[str, Tensor] = {}
    for name, value in tower.items():
        stem, _, last = name.rpartition('.')
        gamma = tower.get(f'{stem}.gamma')
        if last == 'gamma' and f'{stem}.weight' in tower:
            continue  # taken up by what it scales
        if last in ('weight', 'bias') and gamma is not None:
            tensors[name] = value * gamma.view(-1, *[1] * (value.dim() - 1))
        elif name.endswith('.T'):
            tensors[name[:-2]] = value.T
        elif name.endswith(('.q', '.k', '.v')):
            stem = name[:-2]
            parts = [tower.get(f'{stem}.{part}') for part in 'qkv']
            if all(part is not None for part in parts):
                tensors[stem] = torch.cat(parts)
        elif name == 'class_embedding':
            tensors[name] = value.flatten()
        elif name == 'positional_embedding' and value.dim() == 3:
            tensors[name] = value.flatten(0, 1)
        else:
            tensors[name] = value
    return tensors
