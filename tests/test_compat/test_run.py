"""``python -m mmvidadapt.run SCRIPT ARGS...``."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmvidadapt import run

ROOT = Path(__file__).resolve().parents[2]
REPORT = '''
import json, sys
print(json.dumps([__name__, __file__, sys.argv, sys.path[0],
                  sys.modules['__main__'].__dict__ is globals()]))
'''


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that prints how it was started."""
    file = tmp_path / 'scripts' / 'report.py'
    file.parent.mkdir()
    file.write_text(REPORT)
    return file


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """Give ``sys.argv`` and ``sys.path`` back after each test."""
    monkeypatch.setattr(sys, 'argv', ['before'])
    monkeypatch.setattr(sys, 'path', sys.path[:])


def python(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """Run python with this checkout importable."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.run([sys.executable, '-W', 'ignore', *args], cwd=cwd,
                          env=env, capture_output=True, text=True)


def test_script_finds_what_a_direct_run_gives_it(script, capsys):
    args = ['--flag', 'value', '-h']
    direct = python(str(script), *args)
    run.main([str(script), *args])
    assert json.loads(capsys.readouterr().out) == json.loads(direct.stdout)


def test_safe_path_is_respected(script, monkeypatch, capsys):
    fake = SimpleNamespace(flags=SimpleNamespace(safe_path=True), argv=[],
                           path=['kept'])
    monkeypatch.setattr(run, 'sys', fake)
    run.run_script(script, [])
    assert fake.path == ['kept']


def test_script_of_mmaction_is_found_by_its_relative_path():
    found = run.find_script('analysis_tools/confusion_matrix.py')
    assert found == run.mmaction_tools() / 'analysis_tools' / (
        'confusion_matrix.py')


def test_file_at_the_path_itself_comes_first(tmp_path, monkeypatch):
    (tmp_path / 'train.py').write_text('')
    monkeypatch.chdir(tmp_path)
    assert run.find_script('train.py') == Path('train.py')
    (tmp_path / 'train.py').unlink()
    assert run.find_script('train.py') == run.mmaction_tools() / 'train.py'


def test_missing_script_is_one_sentence_and_code_2(capsys):
    with pytest.raises(SystemExit) as stop:
        run.main(['no_such_script.py', '--flag'])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'no_such_script.py is neither a file nor a script in' in error
    assert 'check the path' in error


def test_missing_script_without_mmaction(monkeypatch, capsys):
    monkeypatch.setattr(run, 'find_spec', lambda name: None)
    with pytest.raises(SystemExit):
        run.main(['no_such_script.py'])
    assert 'not installed' in capsys.readouterr().err


def test_no_script_is_one_sentence_and_code_2(capsys):
    with pytest.raises(SystemExit) as stop:
        run.main([])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'no script was named, name one as in' in error


def test_help_ends_with_a_command_to_paste(capsys):
    with pytest.raises(SystemExit) as stop:
        run.main(['--help'])
    assert stop.value.code == 0
    words = ' '.join(capsys.readouterr().out.split())
    assert words.endswith('python -m mmvidadapt.run analysis_tools/'
                          'print_config.py configs/inti/vitb_k400.py')


def test_mends_come_before_the_script_and_its_exit_code_is_kept(tmp_path):
    (tmp_path / 'script.py').write_text(
        'import sys\nimport mmaction.models\nsys.exit(int(sys.argv[1]))\n')
    done = python('-m', 'mmvidadapt.run', 'script.py', '7', cwd=tmp_path)
    assert done.returncode == 7, done.stderr


def test_a_script_of_mmaction_runs(tmp_path, capsys):
    config = tmp_path / 'config.py'
    config.write_text(
        "_base_ = 'mmaction::_base_/default_runtime.py'\nanswer = 42\n")
    run.main(['analysis_tools/print_config.py', str(config)])
    assert 'answer = 42' in capsys.readouterr().out
