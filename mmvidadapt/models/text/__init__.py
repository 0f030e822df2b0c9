"""Class names as text features, from the frozen text tower of CLIP."""

from .cache import cache_folder
from .encode import encode_classes, encode_texts, tokenize
from .templates import TEMPLATES, prompt_templates

__all__ = ['TEMPLATES', 'cache_folder', 'encode_classes', 'encode_texts',
           'prompt_templates', 'tokenize']
