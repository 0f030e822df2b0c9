"""The Python block of README.md is a config that loads."""

import re
from pathlib import Path

from mmengine.config import Config

from tests.conftest import ROOT

TEXT = (ROOT / 'README.md').read_text()


def test_the_config_of_the_readme_loads_where_it_says(
        tmp_path: Path) -> None:
    block, = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
    place, = re.findall(r'A config of yours, here `(\S+)`', TEXT)
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(block)
    # As MMAction2's own scripts read it, before anything is imported.
    cfg = Config.fromfile(path, import_custom_modules=False)
    assert cfg.custom_imports.imports == ['mmvidadapt']
    assert cfg.model.backbone.type == 'CLIPViT'
    adapter, = cfg.model.backbone.adapters
    assert adapter.layers == [3, 5]


def test_every_path_of_the_readme_exists() -> None:
    named = set(re.findall(
        r'(?:configs|docs|tools|requirements)/[\w./-]*\w', TEXT))
    assert len(named) > 8
    assert not [name for name in named if not (ROOT / name).exists()]
