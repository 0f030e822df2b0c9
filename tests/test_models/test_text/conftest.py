"""Fixtures of tests with text towers."""

import pytest

from mmvidadapt.models.clip import CLIPTextEncoder


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes that the text tower was called with."""
    calls: list[int] = []
    forward = CLIPTextEncoder.forward

    def counted(self, tokens, stacks=()):
        calls.append(len(tokens))
        return forward(self, tokens, stacks)

    monkeypatch.setattr(CLIPTextEncoder, 'forward', counted)
    return calls
