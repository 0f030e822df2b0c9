"""What the tests of the encoders share."""

import pytest
from mmengine.logging import MMLogger


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the loader of weights reports."""
    lines: list[str] = []
    monkeypatch.setattr(
        MMLogger, 'info', lambda self, line, *_: lines.append(line)
        if line.startswith('Loaded') else None)
    return lines
