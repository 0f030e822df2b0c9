"""An OpenCV that cannot load its window system says what to do.

``opencv-python`` links against ``libGL``, which servers and containers
often lack; the error then comes from deep inside mmcv and names a library
that no Python package provides.
"""

import re
import sys

_MISSING = re.compile(r'(lib[\w.+-]+\.so[\w.]*)')


def problem() -> str | None:
    """Return why OpenCV cannot be imported, as one sentence."""
    if 'cv2' in sys.modules:
        return None
    try:
        import cv2  # noqa: F401
    except ModuleNotFoundError:
        return ('mmvidadapt needs OpenCV, which is not installed: run '
                '`pip install opencv-python-headless`')
    except ImportError as error:
        library = _MISSING.search(str(error))
        what = library.group(1) if library else str(error)
        return (f'OpenCV cannot be imported for want of {what}: replace it '
                'by the build that needs no display, `pip uninstall -y '
                'opencv-python opencv-contrib-python; pip install '
                'opencv-python-headless`')
    return None


def unusable() -> bool:
    """Whether OpenCV cannot be imported."""
    return problem() is not None


def refuse() -> None:
    """Say why.

    Raises:
        ImportError: Always, with the one sentence of :func:`problem`.
    """
    raise ImportError(problem())
