"""Recognizers that MMAction2 does not have: with a text tower that trains."""

from .description_consistency import DescriptionConsistency
from .video_text_recognizer import VideoTextRecognizer

__all__ = ['DescriptionConsistency', 'VideoTextRecognizer']
