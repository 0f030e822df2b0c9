"""Class names and descriptions as features, from the frozen text tower."""

from .cache import cache_folder
from .descriptions import description_features, token_counts
from .encode import encode_classes, encode_texts, tokenize
from .templates import TEMPLATES, prompt_templates

__all__ = ['TEMPLATES', 'cache_folder', 'description_features',
           'encode_classes', 'encode_texts',
           'prompt_templates', 'token_counts', 'tokenize']
