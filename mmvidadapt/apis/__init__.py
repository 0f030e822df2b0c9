"""What users and tools call."""

from .official import METHODS, load_official
from .video_classifier import Prediction, Timeline, VideoClassifier

__all__ = ['METHODS', 'Prediction', 'Timeline', 'VideoClassifier',
           'load_official']
