"""docs/export.md: its commands and its Python block are run."""

import json
import shlex
from pathlib import Path

from tests.conftest import ROOT
from tests.documents import blocks, call, lines
from tests.small_models import SHALLOW, write_model

PAGE = 'docs/export.md'
COMMANDS = [line for line in lines(PAGE) if line.startswith('python')]
(_, BLOCK), = blocks(PAGE)
CONFIG = 'configs/mote/vitb_zeroshot_ucf101.py'


def test_the_page_exports_and_runs(onnx, tmp_path, monkeypatch,
                                   capsys) -> None:
    (tmp_path / CONFIG).parent.mkdir(parents=True)
    model = write_model('mote', (tmp_path / CONFIG).parent,
                        **SHALLOW['mote'])
    Path(model.checkpoint).rename(tmp_path / 'CKPT')
    monkeypatch.chdir(tmp_path)
    words = [shlex.split(command)[1:] for command in COMMANDS]
    assert [args[3] for args in words] == ['mote.onnx', 'hmdb51.pt2']
    for command, (script, config, *_) in zip(COMMANDS, words):
        assert (script, config) == ('tools/export.py', CONFIG)
        call(command)
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
