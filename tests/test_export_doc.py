"""docs/export.md: its commands and its Python block are run."""

import json
import re
import shlex
from pathlib import Path

from tests.conftest import ROOT
from tests.scripts import plain_tool
from tests.small_models import SHALLOW, write_model

TEXT = (ROOT / 'docs' / 'export.md').read_text()
COMMANDS = re.findall(r'^(python tools/.*)$', TEXT, re.MULTILINE)
BLOCK, = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
CONFIG = 'configs/mote/vitb_zeroshot_ucf101.py'


def test_the_page_exports_and_runs(onnx, tmp_path, monkeypatch,
                                   capsys) -> None:
    (tmp_path / CONFIG).parent.mkdir(parents=True)
    model = write_model('mote', (tmp_path / CONFIG).parent,
                        **SHALLOW['mote'])
    Path(model.checkpoint).rename(tmp_path / 'CKPT')
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(command)[1:] for command in COMMANDS]
    assert [args[3] for args in commands] == ['mote.onnx', 'hmdb51.pt2']
    for script, *args in commands:
        assert script == 'tools/export.py' and args[0] == CONFIG
        done = plain_tool('export.py', *args)
        assert not done.returncode, done.stderr
    assert json.loads(Path('hmdb51.json').read_text())[
        'output']['shape'] == ['batch', 51]
    names: dict = {}
    exec(BLOCK, names)
    assert names['scores'].shape == (2, 101)
    best = names['about']['labels'][names['scores'][0].argmax()]
    assert f"['{best}', " in capsys.readouterr().out


def test_the_page_names_what_exists() -> None:
    assert (ROOT / CONFIG).is_file()
    assert (ROOT / 'requirements' / 'export.txt').is_file()
