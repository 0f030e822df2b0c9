"""The bash entry points, run with an interpreter that records its calls."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'
CONFIG = 'some config.py'
# Two processes; a later -n of the user's wins.
PYTEST = ['-m', 'pytest', '-n', '2', '--dist', 'loadfile']

# Answers questions like Python, installs nothing, writes its calls down.
FAKE_PYTHON = f"""#!/usr/bin/env bash
set -e
case "$1 $2" in
    '-m venv')
        mkdir -p "$4/bin"
        cp "$0" "$4/bin/python" ;;
    '-m pip')
        case "$*" in
            *--version*) exit 0 ;;
            *'-r '*) cp "${{@: -2:1}}" "$FAKE_LOG.lines" ;;
        esac
        if [ -n "$FAKE_PIP_FAILS" ]; then exit 1; fi ;;
    '-c import ensurepip, venv') [ -z "$FAKE_NO_VENV" ] || exit 1; exit 0 ;;
    '-c import cv2')
        if [ -n "$FAKE_NO_CV2" ]; then
            echo 'ImportError: libGL.so.1: no such file' >&2
            exit 1
        fi
        exit 0 ;;
    '-c import av') exit 0 ;;
    -c*find_spec*)
        [[ "$2" =~ find_spec\\(\\'([a-z0-9]+)\\'\\) ]]
        [[ " $FAKE_MODULES " == *" ${{BASH_REMATCH[1]}} "* ]]
        exit ;;
    -c*version_info*)
        [[ "$2" =~ \\(3,\\ ([0-9]+)\\) ]]
        old="${{FAKE_OLD#3.}}"
        [ -z "$old" ] || [ "${{old%%.*}}" -ge "${{BASH_REMATCH[1]}}" ]
        exit ;;
    '--version '*) echo "Python ${{FAKE_OLD:-3.11.0}}"; exit 0 ;;
    '- '*) exec {sys.executable} "$@" ;;
    '-m sphinx')
        if [ -n "$FAKE_SPHINX_FAILS" ]; then exit 1; fi
        mkdir "${{@: -1}}" && touch "${{@: -1}}/index.html" ;;
esac
printf '%s|' "$@" >> "$FAKE_LOG"
echo "OMP=$OMP_NUM_THREADS" >> "$FAKE_LOG"
"""


class Sandbox:
    """A copy of the scripts with a recording interpreter."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / 'a checkout'
        self.root.mkdir()
        shutil.copytree(TOOLS, self.root / 'tools')
        shutil.copytree(ROOT / '.ci', self.root / '.ci')
        shutil.copytree(ROOT / 'requirements', self.root / 'requirements')
        (self.root / 'mmvidadapt').mkdir()
        for name in ('setup.py', 'pyproject.toml', 'mmvidadapt/version.py'):
            shutil.copy2(ROOT / name, self.root / name)
        self.bin = folder / 'bin'
        self.bin.mkdir()
        self.python = self.script('python3', FAKE_PYTHON)
        self.script('python', FAKE_PYTHON)
        self.elsewhere = folder / 'elsewhere'
        self.elsewhere.mkdir()
        (self.elsewhere / CONFIG).write_text('')
        self.log = folder / 'log'

    def script(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, script: str, *args: str, **env: str
            ) -> subprocess.CompletedProcess:
        self.log.write_text('')
        return subprocess.run(
            ['bash', str(self.root / script), *args], cwd=self.elsewhere,
            capture_output=True, text=True, input='not for a script\n',
            env={'PATH': f'{self.bin}:/usr/bin:/bin', 'HOME': os.devnull,
                 'FAKE_LOG': str(self.log), **env})

    def calls(self) -> list[list[str]]:
        """The recorded commands, each as its arguments."""
        return [line.split('|') for line
                in self.log.read_text().splitlines()]


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


# Set-up -----------------------------------------------------------------


def test_setup_installs_torch_first_and_alone(sandbox: Sandbox) -> None:
    result = sandbox.run('tools/setup_env.sh')
    assert result.returncode == 0, result.stderr
    venv, torch, rest, own = sandbox.calls()
    assert venv[:3] == ['-m', 'venv', '--clear']
    assert [a for a in torch if '==' in a] == ['torch==2.13.0']
    assert '--no-deps' not in torch and '-r' not in torch
    assert '-c' in torch and '--no-deps' in rest and '-r' in rest
    assert own[own.index('-e') + 1] == str(sandbox.root)
    assert '--no-build-isolation' in own
    lines = Path(f'{sandbox.log}.lines').read_text().split()
    assert 'torchvision==0.28.0' in lines and 'torch==2.13.0' not in lines
    assert not [n for n in lines if n.startswith('opencv-python')]


def test_setup_is_done_once_and_again_when_a_pin_changes(
        sandbox: Sandbox) -> None:
    sandbox.run('tools/setup_env.sh')
    again = sandbox.run('tools/setup_env.sh')
    assert again.returncode == 0
    assert sandbox.calls() == [] and again.stdout == ''
    with open(sandbox.root / 'requirements' / 'pinned.txt', 'a') as file:
        file.write('another==1.0\n')
    sandbox.run('tools/setup_env.sh')
    assert len(sandbox.calls()) == 3  # no second venv


def test_interrupted_setup_starts_again(sandbox: Sandbox) -> None:
    failed = sandbox.run('tools/setup_env.sh', FAKE_PIP_FAILS='1')
    assert failed.returncode == 1
    assert ('pip could not install torch==2.13.0: read its message above, '
            'then run the same command again.') in failed.stderr
    assert sandbox.run('tools/setup_env.sh').returncode == 0
    assert len(sandbox.calls()) == 3


def test_old_python_is_named_with_the_remedy(sandbox: Sandbox) -> None:
    result = sandbox.run('tools/quickstart.sh', FAKE_OLD='3.8.2')
    assert result.returncode == 1
    assert ("'python3' is Python 3.8.2, but Python 3.11 or newer is needed: "
            'name a newer one with PYTHON=/path/to/python3.'
            ) in result.stderr


@pytest.mark.parametrize('how', ['--active', '--as-is'])
def test_old_python_of_an_environment_is_named(
        sandbox: Sandbox, how: str) -> None:
    result = sandbox.run('tools/run_tests.sh', how, FAKE_OLD='3.10.4',
                         FAKE_MODULES='pip')
    assert result.returncode == 1
    assert 'but Python 3.11 or newer is needed' in result.stderr


def test_absent_python_is_named_with_the_remedy(sandbox: Sandbox) -> None:
    result = sandbox.run('tools/run_tests.sh', PYTHON='python3.99')
    assert result.returncode == 1
    assert ("'python3.99' was not found: install Python 3.11 or newer "
            '(Debian/Ubuntu: apt-get install python3 python3-venv)'
            ) in result.stderr


def test_absent_venv_module_is_named_with_the_remedy(
        sandbox: Sandbox) -> None:
    result = sandbox.run('tools/run_tests.sh', FAKE_NO_VENV='1')
    assert result.returncode == 1
    assert "'python3' cannot create virtual environments" in result.stderr
    assert 'apt-get install python3-venv' in result.stderr
    assert 'MMVIDADAPT_ENV=active' in result.stderr
    assert not (sandbox.root / '.venv').exists()


def test_unknown_environment_is_named_with_the_remedy(
        sandbox: Sandbox) -> None:
    result = sandbox.run('tools/run_tests.sh', MMVIDADAPT_ENV='conda')
    assert result.returncode == 1
    assert ("MMVIDADAPT_ENV is 'conda': use venv, active or as-is."
            ) in result.stderr


@pytest.mark.parametrize('how', ['option', 'variable'])
def test_active_environment_keeps_its_torch_and_opencv(
        sandbox: Sandbox, how: str) -> None:
    args = ['--active'] if how == 'option' else []
    env = {} if how == 'option' else {'MMVIDADAPT_ENV': 'active'}
    result = sandbox.run('tools/run_tests.sh', *args, **env,
                         FAKE_MODULES='pip torch torchvision cv2')
    assert result.returncode == 0, result.stderr
    rest, _, pytest_call = sandbox.calls()
    assert '--no-deps' in rest
    lines = Path(f'{sandbox.log}.lines').read_text().split()
    assert 'mmaction2==1.2.0' in lines
    assert not [n for n in lines if n.startswith(('torch', 'opencv'))]
    assert pytest_call[:2] == ['-m', 'pytest']
    assert not (sandbox.root / '.venv').exists()


def test_active_environment_without_torch_receives_all(
        sandbox: Sandbox) -> None:
    sandbox.run('tools/setup_env.sh', '--active', FAKE_MODULES='pip')
    assert 'torch==2.13.0' in sandbox.calls()[0]
    lines = Path(f'{sandbox.log}.lines').read_text().split()
    assert 'torchvision==0.28.0' in lines
    assert 'opencv-contrib-python-headless==5.0.0.93' in lines


def test_active_torch_without_torchvision_is_refused(
        sandbox: Sandbox) -> None:
    result = sandbox.run('tools/setup_env.sh', '--active',
                         FAKE_MODULES='pip torch')
    assert result.returncode == 1
    assert ('has torch but no torchvision: install the release that belongs '
            "to your torch ('pip install torchvision')") in result.stderr


def test_as_is_installs_nothing(sandbox: Sandbox) -> None:
    result = sandbox.run('tools/run_tests.sh', '--as-is', '-k', 'a b')
    assert result.returncode == 0, result.stderr
    assert sandbox.calls() == [[*PYTEST, '-k', 'a b', 'OMP=1']]


# The two commands -------------------------------------------------------


def test_run_tests_passes_options_and_limits_threads(
        sandbox: Sandbox) -> None:
    sandbox.run('tools/run_tests.sh', '-m', 'slow', 'tests/test_x.py')
    assert sandbox.calls()[-1] == [
        *PYTEST, '-m', 'slow', 'tests/test_x.py', 'OMP=1']
    sandbox.run('tools/run_tests.sh', OMP_NUM_THREADS='3')
    assert sandbox.calls()[-1] == [*PYTEST, 'OMP=3']


@pytest.mark.parametrize('name', ['quickstart', 'run_tests', 'lint',
                                  'docs', 'setup_env'])
@pytest.mark.parametrize('args', [['--help'], ['-h'], ['--active', '--help']])
def test_help_installs_and_starts_nothing(
        sandbox: Sandbox, name: str, args: list[str]) -> None:
    result = sandbox.run(f'tools/{name}.sh', *args)
    assert result.returncode == 0, result.stderr
    assert f'tools/{name}.sh' in result.stdout
    assert '--active' in result.stdout and '--as-is' in result.stdout
    assert 'set -' not in result.stdout and '#' not in result.stdout
    assert sandbox.calls() == []
    assert not (sandbox.root / '.venv').exists()


def test_help_of_the_quickstart_names_every_option(sandbox: Sandbox) -> None:
    script = (TOOLS / 'quickstart.py').read_text()
    options = re.findall(r"add_argument\(\s*'(--[a-z-]+)'", script)
    assert '--ci' in options
    found = sandbox.run('tools/quickstart.sh', '--help').stdout
    assert set(options) <= set(re.findall(r'--[a-z-]+', found))


def test_quickstart_passes_options(sandbox: Sandbox) -> None:
    result = sandbox.run('tools/quickstart.sh', '--ci', '--out', 'a b')
    assert result.returncode == 0, result.stderr
    script = str(sandbox.root / 'tools' / 'quickstart.py')
    assert sandbox.calls()[-1][:-1] == [script, '--ci', '--out', 'a b']


def test_quickstart_names_what_opencv_lacks(sandbox: Sandbox) -> None:
    result = sandbox.run('tools/quickstart.sh', FAKE_NO_CV2='1')
    assert result.returncode == 1
    assert 'OpenCV does not load (ImportError: libGL.so.1' in result.stderr
    assert 'apt-get install libgl1' in result.stderr
    assert 'opencv-contrib-python-headless==' in result.stderr
    assert not [c for c in sandbox.calls() if 'quickstart.py' in c[0]]


# Launchers --------------------------------------------------------------

LAUNCHERS = {
    'dist_train.sh': [CONFIG, '2'],
    'dist_test.sh': [CONFIG, 'a checkpoint.pth', '2'],
    'slurm_train.sh': ['partition', 'job', CONFIG],
    'slurm_test.sh': ['partition', 'job', CONFIG, 'a checkpoint.pth'],
}


@pytest.mark.parametrize('name', LAUNCHERS)
def test_launcher_without_its_arguments_prints_usage(
        sandbox: Sandbox, name: str) -> None:
    few = sandbox.run(f'tools/{name}', *LAUNCHERS[name][:-1])
    assert few.returncode == 2
    assert few.stderr.startswith(f'usage: tools/{name} ')
    assert f'example: tools/{name} ' in few.stderr.splitlines()[-1]
    assert sandbox.calls() == []
    asked = sandbox.run(f'tools/{name}', '--help')
    assert asked.returncode == 0 and asked.stdout == few.stderr


@pytest.mark.parametrize('name', LAUNCHERS)
def test_launcher_names_an_absent_config(
        sandbox: Sandbox, name: str) -> None:
    args = ['absent.py' if a == CONFIG else a for a in LAUNCHERS[name]]
    result = sandbox.run(f'tools/{name}', *args)
    assert result.returncode == 2
    assert ("CONFIG 'absent.py' is not a file: give its path, absolute or "
            f'from {sandbox.elsewhere}.') in result.stderr


@pytest.mark.parametrize('gpus', ['0', 'two', '-1', ''])
def test_launcher_refuses_a_wrong_number(
        sandbox: Sandbox, gpus: str) -> None:
    result = sandbox.run('tools/dist_train.sh', CONFIG, gpus)
    assert result.returncode == 2
    assert (f"GPUS is '{gpus}': give a number of processes, 1 or more."
            ) in result.stderr


def test_dist_train_starts_torchrun_on_a_free_port(sandbox: Sandbox) -> None:
    result = sandbox.run('tools/dist_train.sh', CONFIG, '4',
                         '--work-dir', 'w d')
    assert result.returncode == 0, result.stderr
    assert sandbox.calls()[0][:-1] == [
        '-m', 'torch.distributed.run', '--nnodes=1', '--nproc_per_node=4',
        '--standalone', str(sandbox.root / 'tools' / 'train.py'), CONFIG,
        '--launcher', 'pytorch', '--work-dir', 'w d']


def test_dist_test_honours_nodes_rank_address_and_port(
        sandbox: Sandbox) -> None:
    sandbox.run('tools/dist_test.sh', CONFIG, 'c.pth', '8', '--dump', 'o',
                NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1',
                PORT='1234')
    assert sandbox.calls()[0][:-1] == [
        '-m', 'torch.distributed.run', '--nnodes=2', '--nproc_per_node=8',
        '--node_rank=1', '--master_addr=10.0.0.1', '--master_port=1234',
        str(sandbox.root / 'tools' / 'test.py'), CONFIG, 'c.pth',
        '--launcher', 'pytorch', '--dump', 'o']


def test_several_nodes_without_an_address_are_refused(
        sandbox: Sandbox) -> None:
    result = sandbox.run('tools/dist_train.sh', CONFIG, '8', NNODES='2')
    assert result.returncode == 2
    assert ('NNODES is 2 but MASTER_ADDR is not set: give the address of '
            'the machine with NODE_RANK=0.') in result.stderr


def test_launcher_prefers_named_then_activated_then_venv_then_conda(
        sandbox: Sandbox, tmp_path: Path) -> None:
    for place, name in enumerate(('named', 'active', 'repository', 'conda')):
        folder = (sandbox.root / '.venv' if name == 'repository'
                  else tmp_path / name) / 'bin'
        folder.mkdir(parents=True)
        (folder / 'python').write_text(f'#!/bin/sh\nexit {40 + place}\n')
        (folder / 'python').chmod(0o755)
    # What activation does; the first of PATH is not the one to be asked.
    env = dict(PYTHON=str(tmp_path / 'named' / 'bin' / 'python'),
               VIRTUAL_ENV=str(tmp_path / 'active'),
               CONDA_PREFIX=str(tmp_path / 'conda'))
    found = [sandbox.run('tools/dist_train.sh', CONFIG, '1', **env).returncode]
    for gone in ('PYTHON', 'VIRTUAL_ENV', '.venv', 'CONDA_PREFIX'):
        if gone == '.venv':
            shutil.rmtree(sandbox.root / gone)
        else:
            del env[gone]
        found.append(sandbox.run(
            'tools/dist_train.sh', CONFIG, '1', **env).returncode)
    assert found == [40, 41, 42, 43, 0]  # the last is python3 of the PATH


def test_slurm_scripts_start_srun(sandbox: Sandbox) -> None:
    lacking = sandbox.run('tools/slurm_train.sh', 'p', 'j', CONFIG)
    assert lacking.returncode == 1
    assert 'srun was not found' in lacking.stderr
    assert 'use tools/dist_train.sh.' in lacking.stderr
    sandbox.script(
        'srun', '#!/usr/bin/env bash\nprintf "%s|" "$@" >> "$FAKE_LOG"\n')
    sandbox.run('tools/slurm_train.sh', 'p', 'j', CONFIG, '--amp',
                GPUS='16', SRUN_ARGS='--time=1 --mem=2')
    call, = sandbox.calls()
    assert call[:5] == ['--partition=p', '--job-name=j', '--ntasks=16',
                        '--gres=gpu:8', '--ntasks-per-node=8']
    assert '--time=1' in call and '--mem=2' in call
    assert call[-6:-1] == [str(sandbox.root / 'tools' / 'train.py'),
                           CONFIG, '--launcher', 'slurm', '--amp']
    sandbox.run('tools/slurm_test.sh', 'p', 'j', CONFIG, 'c.pth', GPUS='2')
    call, = sandbox.calls()
    assert '--gres=gpu:2' in call
    assert call[-6:-1] == [str(sandbox.root / 'tools' / 'test.py'),
                           CONFIG, 'c.pth', '--launcher', 'slurm']


# The site ---------------------------------------------------------------


def test_the_site_is_built_strictly_by_the_pinned_builder(
        sandbox: Sandbox) -> None:
    result = sandbox.run('tools/docs.sh')
    assert result.returncode == 0, result.stderr
    *_, pip, sphinx = sandbox.calls()
    assert pip[:2] == ['-m', 'pip'] and '-r' in pip and '-c' in pip
    assert pip[pip.index('-r') + 1].endswith('requirements/docs.txt')
    assert sphinx[:2] == ['-m', 'sphinx'] and '-W' in sphinx
    assert (sandbox.root / 'site' / 'index.html').is_file()
    assert not list(sandbox.root.glob('.site.*'))


def test_a_site_that_fails_leaves_the_one_before(sandbox: Sandbox) -> None:
    (sandbox.root / 'site').mkdir()
    (sandbox.root / 'site' / 'before.html').write_text('')
    result = sandbox.run('tools/docs.sh', FAKE_SPHINX_FAILS='1')
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        'docs: mend the warnings above; site/ is as it was before')
    assert (sandbox.root / 'site' / 'before.html').is_file()
    assert not list(sandbox.root.glob('.site.*'))


def test_the_site_as_is_installs_nothing_and_says_what_to_install(
        sandbox: Sandbox) -> None:
    (sandbox.root / 'requirements' / 'docs.txt').write_text('sphinx==0.0\n')
    result = sandbox.run('tools/docs.sh', '--as-is')
    assert result.returncode == 1
    assert 'pip install -r requirements/docs.txt' in result.stderr
    assert sandbox.calls() == []


# Continuous integration -------------------------------------------------


def stub_stages(sandbox: Sandbox, failing: str = '') -> None:
    """Replace the stages by scripts that say who they are."""
    for name in ('run_tests', 'quickstart', 'lint', 'docs'):
        end = 'exit 3' if name == failing else 'exit 0'
        (sandbox.root / 'tools' / f'{name}.sh').write_text(
            f'read -r line && exit 9\necho "{name} $* CI=$CI"\n'
            f'echo "==== 7 passed in 1.23s ===="\n{end}\n')


def test_ci_runs_tests_quickstart_linters_and_builds_the_site(
        sandbox: Sandbox) -> None:
    stub_stages(sandbox)
    result = sandbox.run('.ci/run')
    assert result.returncode == 0, result.stdout + result.stderr
    said = [line for line in result.stdout.splitlines() if 'CI=' in line]
    assert said == ['run_tests  CI=true', 'quickstart --ci CI=true',
                    'lint  CI=true', 'docs  CI=true']
    assert 'pytest: ==== 7 passed in 1.23s ====' in result.stdout


@pytest.mark.parametrize('failing', ['run_tests', 'quickstart', 'lint',
                                     'docs'])
def test_ci_fails_with_any_stage_and_names_it(
        sandbox: Sandbox, failing: str) -> None:
    stub_stages(sandbox, failing)
    result = sandbox.run('.ci/run')
    assert result.returncode == 1
    name = 'tests' if failing == 'run_tests' else failing
    assert result.stdout.splitlines()[-1] == f'FAILED: {name}'
    assert 'docs  CI=true' in result.stdout  # the later stages still ran
