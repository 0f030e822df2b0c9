"""What stops an import on today's stack, mended and left alone."""

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

import mmvidadapt
from mmvidadapt.compat import (
    installed_packages,
    localizers,
    opencv,
    requirements,
    torchvision_ops,
    wandb_import,
)

ROOT = Path(__file__).resolve().parents[2]


def forget(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Take a loaded package out of ``sys.modules`` until the test ends."""
    importlib.import_module(package)
    for name in list(sys.modules):
        if name == package or name.startswith(package + '.'):
            monkeypatch.delitem(sys.modules, name)


# -- all together, in a fresh interpreter ----------------------------------

EVERYTHING = '''
import mmaction.apis, mmaction.datasets, mmaction.engine, mmaction.evaluation
import mmaction.models, mmaction.visualization
import mmpretrain.models, open_clip, torchvision.transforms
'''


def python(code: str, **env: str) -> subprocess.CompletedProcess:
    """Run ``code`` in a fresh interpreter that finds this checkout."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
           **env}
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code],
                          capture_output=True, text=True, env=env)


def test_everything_imports_after_mmvidadapt_and_wandb_is_not_loaded():
    done = python('import mmvidadapt' + EVERYTHING
                  + 'import sys; assert "wandb.sdk" not in sys.modules')
    assert done.returncode == 0, done.stderr


def test_configs_that_synthetic_runs_wrote_are_understood():
    done = python('import mmvidadapt\n'
                  'from mmaction.registry import DATASETS\n'
                  'assert "SyntheticVideoDataset" in DATASETS')
    assert done.returncode == 0, done.stderr


def test_everything_imports_even_if_an_earlier_attempt_failed():
    attempts = '''
import importlib, sys
for name in ('torchvision', 'mmaction.models', 'mmengine.config'):
    try:
        importlib.import_module(name)
    except Exception:  # whatever the stack breaks there, before it is mended
        pass
import mmvidadapt
from mmengine.config.config import is_installed
assert is_installed('mmaction2')
import mmaction.models.localizers as localizers
assert {'BMN', 'TEM', 'PEM', 'TCANet', 'DRN'} <= set(dir(localizers))
'''
    done = python(attempts + EVERYTHING)
    assert done.returncode == 0, done.stderr


# -- DRN --------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``localizers`` package of an imagined MMAction2."""
    monkeypatch.setattr(localizers, 'localizers_folder', lambda: tmp_path)
    return tmp_path


def test_building_drn_says_why_it_cannot():
    from mmaction.registry import MODELS
    if not localizers.needed():
        pytest.skip('the installed MMAction2 has DRN')
    with pytest.raises(ImportError,
                       match='lacks the folder.*drn.*pip install -e'):
        MODELS.build(dict(type='DRN'))


def test_other_localizers_can_be_built():
    from mmaction.registry import MODELS
    model = MODELS.build(
        dict(type='TEM', temporal_dim=4, boundary_ratio=0.1, tem_feat_dim=4,
             tem_hidden_dim=4, tem_match_threshold=0.5))
    assert isinstance(model, torch.nn.Module)


def test_drn_is_missing_when_imported_but_not_there(folder):
    (folder / '__init__.py').write_text('from .drn.drn import DRN\n')
    assert localizers.needed()


def test_drn_is_left_alone_when_it_is_there(folder):
    (folder / '__init__.py').write_text('from .drn.drn import DRN\n')
    (folder / 'drn').mkdir()
    (folder / 'drn' / 'drn.py').write_text('')
    assert not localizers.needed()


def test_drn_is_left_alone_when_nothing_imports_it(folder):
    (folder / '__init__.py').write_text('from .bmn import BMN\n')
    assert not localizers.needed()


def test_drn_is_left_alone_without_mmaction(monkeypatch):
    monkeypatch.setattr(localizers, 'find_spec', lambda name: None)
    assert not localizers.needed()


# -- torchvision ------------------------------------------------------------


def write_torchvision(folder: Path, has_ops: bool, error: str) -> None:
    """Write a package that fails as torchvision without operators does."""
    package = folder / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text(
        'from . import extension\n'
        'from torchvision import _meta_registrations\n'
        'DONE = True\n')
    (package / 'extension.py').write_text(
        f'def _has_ops():\n    return {has_ops}\n')
    (package / '_meta_registrations.py').write_text(
        'import torchvision.extension\n'
        'if not torchvision.extension._has_ops():\n'
        f'    raise {error}\n'
        'REGISTERED = True\n')


@pytest.fixture
def imagined_torchvision(tmp_path, monkeypatch):
    """Return a function that writes a torchvision and watches for it."""
    forget(monkeypatch, 'torchvision')
    monkeypatch.syspath_prepend(tmp_path)

    def write(has_ops: bool, error: str) -> None:
        write_torchvision(tmp_path, has_ops, error)
        mmvidadapt.compat.when_imported(
            torchvision_ops.EXTENSION,
            lambda: torchvision_ops.needed() and torchvision_ops.mend())

    return write


@pytest.mark.parametrize('error', [
    "RuntimeError('operator torchvision::nms does not exist')",
    "ValueError('Could not find the operator torchvision::nms')"
])
def test_torchvision_imports_without_its_operators(imagined_torchvision,
                                                   error):
    imagined_torchvision(has_ops=False, error=error)
    torchvision = importlib.import_module('torchvision')
    assert torchvision.DONE
    assert not hasattr(torchvision._meta_registrations, 'REGISTERED')


def test_torchvision_with_operators_is_left_alone(imagined_torchvision):
    imagined_torchvision(has_ops=True, error='AssertionError')
    torchvision = importlib.import_module('torchvision')
    assert torchvision.DONE
    assert torchvision._meta_registrations.REGISTERED
    assert not torchvision_ops.needed()


def test_another_failure_of_torchvision_is_not_hidden(imagined_torchvision):
    imagined_torchvision(has_ops=False, error="OSError('disk on fire')")
    with pytest.raises(OSError, match='disk on fire'):
        importlib.import_module('torchvision')


def test_torchvision_recovers_from_an_import_that_failed_before(
        tmp_path, monkeypatch):
    forget(monkeypatch, 'torchvision')
    monkeypatch.syspath_prepend(tmp_path)
    write_torchvision(tmp_path, False, "RuntimeError('no nms')")
    with pytest.raises(RuntimeError, match='no nms'):
        importlib.import_module('torchvision')
    assert torchvision_ops.EXTENSION in sys.modules
    assert torchvision_ops.needed()
    torchvision_ops.mend()
    assert importlib.import_module('torchvision').DONE


def test_an_operator_call_works_or_says_why_not():
    from torchvision.extension import _has_ops
    from torchvision.ops import nms
    boxes = torch.tensor([[0., 0., 1., 1.], [0., 0., 1., 1.]])
    scores = torch.tensor([0.9, 0.8])
    if _has_ops():
        assert nms(boxes, scores, 0.5).tolist() == [0]
    else:
        with pytest.raises(RuntimeError,
                           match="Couldn't load custom C\\+\\+ ops"):
            nms(boxes, scores, 0.5)


# -- pkg_resources ----------------------------------------------------------


def test_is_installed_knows_distributions_and_modules():
    assert installed_packages.is_installed('mmaction2')  # a distribution
    assert installed_packages.is_installed('mmaction')  # its module
    assert not installed_packages.is_installed('no-such-package')


def test_installed_path_is_the_module_folder_by_either_name():
    import mmaction
    here = str(Path(mmaction.__file__).parent)
    assert installed_packages.get_installed_path('mmaction2') == here
    assert installed_packages.get_installed_path('mmaction') == here
    assert installed_packages.package2module('mmaction2') == 'mmaction'


def test_installed_path_of_nothing_is_an_error():
    with pytest.raises(ModuleNotFoundError, match='no-such-package'):
        installed_packages.get_installed_path('no-such-package')


def test_installed_path_of_a_namespace_package_is_an_error(
        tmp_path, monkeypatch):
    (tmp_path / 'bare_folder').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not installed_packages.is_installed('bare_folder')
    with pytest.raises(RuntimeError, match='bare_folder is a namespace'):
        installed_packages.get_installed_path('bare_folder')


def write_distribution(site: Path, record: str, top_level: str = '') -> None:
    """Write the metadata of a distribution called ``some-dist``."""
    info = site / 'some_dist-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Name: some-dist\nVersion: 1.0\n')
    (info / 'RECORD').write_text(record)
    if top_level:
        (info / 'top_level.txt').write_text(top_level)


def test_installed_path_of_an_editable_install_is_its_sources(
        tmp_path, monkeypatch):
    site, sources = tmp_path / 'site', tmp_path / 'sources'
    site.mkdir()
    (sources / 'some_module').mkdir(parents=True)
    (sources / 'some_module' / '__init__.py').write_text('')
    write_distribution(site, '__editable__some.pth,,\n', 'some_module\n')
    monkeypatch.syspath_prepend(site)
    monkeypatch.syspath_prepend(sources)
    assert installed_packages.get_installed_path('some-dist') == str(
        sources / 'some_module')


def test_module_of_a_distribution_is_read_from_its_files(
        tmp_path, monkeypatch):
    (tmp_path / 'some_module').mkdir()
    (tmp_path / 'some_module' / '__init__.py').write_text('')
    write_distribution(tmp_path, 'some_module/__init__.py,,\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_packages.package2module('some-dist') == 'some_module'


def test_distribution_that_names_no_module_is_an_error(tmp_path, monkeypatch):
    write_distribution(tmp_path, 'bin/tool,,\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match='some-dist does not say which mod'):
        installed_packages.package2module('some-dist')


def test_config_may_inherit_from_mmaction(tmp_path):
    from mmengine.config import Config
    child = tmp_path / 'child.py'
    child.write_text("_base_ = 'mmaction::_base_/default_runtime.py'\n")
    assert Config.fromfile(child).default_scope == 'mmaction'


@pytest.fixture
def imagined_mmengine(monkeypatch):
    """Two modules: mmengine's home of the functions, and one using them."""
    home = ModuleType(installed_packages.HOME)
    exec(
        'def is_installed(package):\n    import pkg_resources\n'
        'def get_installed_path(package):\n    pass\n'
        'def package2module(package):\n    pass\n', vars(home))
    user = ModuleType('user_of_mmengine')
    user.is_installed = home.is_installed
    monkeypatch.setitem(sys.modules, home.__name__, home)
    monkeypatch.setitem(sys.modules, user.__name__, user)
    return home, user


def test_without_pkg_resources_every_reference_is_replaced(
        imagined_mmengine, monkeypatch):
    home, user = imagined_mmengine
    monkeypatch.setattr(installed_packages, 'find_spec', lambda name: None)
    assert installed_packages.needed()
    installed_packages.mend()
    assert user.is_installed is installed_packages.is_installed
    for function in installed_packages.REPLACEMENTS:
        assert getattr(home, function.__name__) is function


def test_with_pkg_resources_nothing_is_replaced(imagined_mmengine,
                                                monkeypatch):
    monkeypatch.setattr(installed_packages, 'find_spec',
                        lambda name: SimpleNamespace(name=name))
    assert not installed_packages.needed()


def test_an_mmengine_that_does_not_ask_pkg_resources_is_left_alone(
        imagined_mmengine, monkeypatch):
    home, _ = imagined_mmengine
    home.is_installed = lambda package: True
    monkeypatch.setattr(installed_packages, 'find_spec', lambda name: None)
    assert not installed_packages.needed()


# -- what must be installed -------------------------------------------------


@pytest.fixture
def stack(monkeypatch):
    """Return a function that imagines which distributions are installed."""
    modules = {'mmcv': 'mmcv', 'mmcv-lite': 'mmcv', 'onedl-mmcv': 'mmcv',
               'mmaction2': 'mmaction', 'onedl-mmengine': 'mmengine'}

    def imagine(**installed: str) -> None:
        found = {name.replace('_', '-'): version
                 for name, version in installed.items()}
        importable = {modules.get(name, name) for name in found}
        monkeypatch.setattr(requirements, 'installed_version', found.get)
        monkeypatch.setattr(requirements, 'is_importable',
                            importable.__contains__)

    return imagine


REST = dict(torch='2.13.0', mmengine='0.10.7', mmaction2='1.2.0')


@pytest.mark.parametrize('name, version', [
    ('mmcv', '2.0.0rc4'), ('mmcv', '2.1.0'), ('mmcv_lite', '2.1.0'),
    ('onedl_mmcv', '2.3.6')
])
def test_mmcv_mmcv_lite_and_the_fork_are_accepted(stack, name, version):
    stack(**REST, **{name: version})
    assert not requirements.unmet()


def test_the_forks_of_both_mmcv_and_mmengine_are_accepted(stack):
    stack(torch='2.13.0', mmaction2='1.2.0', onedl_mmcv='2.3.6',
          onedl_mmengine='0.10.12')
    assert not requirements.unmet()


def test_a_fork_installed_over_a_newer_mmcv_is_accepted(stack):
    stack(**REST, mmcv='2.2.0', onedl_mmcv='2.3.6')
    assert not requirements.unmet()


@pytest.mark.parametrize('name, version', [
    ('mmcv', '2.2.0'), ('mmcv_lite', '2.2.0'), ('mmcv', '1.7.2')
])
def test_an_mmcv_that_mmaction_refuses_is_named(stack, name, version):
    stack(**REST, **{name: version})
    with pytest.raises(
            ImportError, match=f'{name.replace("_", "-")} {version} is '
            'installed.*does not accept.*pip install mmcv-lite==2.1.0'):
        requirements.refuse()


@pytest.mark.parametrize('missing, advice', [
    ('torch', 'needs torch, .*pytorch.org'),
    ('mmengine', 'needs mmengine, .*pip install mmengine==0.10.7'),
    ('mmaction2', 'needs MMAction2, .*pip install mmaction2==1.2.0'),
    ('mmcv', 'neither mmcv nor mmcv-lite is installed: .*mmcv-lite==2.1.0')
])
def test_a_missing_package_is_named_with_its_remedy(stack, missing, advice):
    installed = {**REST, 'mmcv': '2.1.0'}
    del installed[missing]
    stack(**installed)
    with pytest.raises(ImportError, match=advice):
        requirements.refuse()


def test_without_mmcv_the_import_ends_in_one_sentence(tmp_path):
    site = Path(torch.__file__).parents[1]
    for entry in site.iterdir():
        if not entry.name.startswith(('mmcv', 'onedl_mmcv')):
            (tmp_path / entry.name).symlink_to(entry)
    done = subprocess.run(
        [sys.executable, '-S', '-c', 'import mmvidadapt'],
        env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path}'},
        capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        'ImportError: mmvidadapt needs mmcv, and neither mmcv nor mmcv-lite')
    assert 'site-packages' not in done.stderr  # no frame of another package


@pytest.mark.parametrize('version, needed', [
    (None, False), ('2.1.0', False), ('2.2.0', True), ('2.3.6', True)
])
def test_only_a_fork_past_the_bound_is_introduced(monkeypatch, version,
                                                  needed):
    monkeypatch.setattr(requirements, 'installed_version',
                        {'onedl-mmcv': version}.get)
    assert requirements.fork_needs_introduction() is needed


def test_mmaction_imports_with_the_fork_and_its_version_is_kept(
        tmp_path, monkeypatch):
    forget(monkeypatch, 'mmaction')
    fork = ModuleType('mmcv')
    fork.__version__ = '2.3.6'
    monkeypatch.setitem(sys.modules, 'mmcv', fork)
    (tmp_path / 'mmaction').mkdir()
    (tmp_path / 'mmaction' / '__init__.py').write_text(
        "import mmcv\nassert mmcv.__version__ == '2.1.0'\n")
    monkeypatch.syspath_prepend(tmp_path)
    requirements.introduce_fork()
    assert 'mmaction' in sys.modules
    assert fork.__version__ == '2.3.6'


# -- wandb ------------------------------------------------------------------


@pytest.fixture
def imagined_wandb(tmp_path, monkeypatch):
    """Return a function that installs a wandb, which then waits."""
    for name in list(sys.modules):
        if name.split('.')[0] == 'wandb':
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)

    def install(code: str) -> ModuleType:
        (tmp_path / 'wandb').mkdir()
        (tmp_path / 'wandb' / '__init__.py').write_text(code)
        (tmp_path / 'wandb' / 'part.py').write_text(
            'import sys\nassert sys.wandb_ran  # the whole comes first\n'
            'HALF = 1\n')
        importlib.invalidate_caches()
        assert wandb_import.needed()
        wandb_import.mend()
        assert not wandb_import.needed()
        return importlib.import_module('wandb')

    yield install
    for name in ('wandb', 'wandb.part'):
        sys.modules.pop(name, None)


WANDB = 'import sys, wandb\nsys.wandb_ran = True\nWHOLE = 2\n'


@pytest.mark.parametrize('use', [
    'import wandb; assert wandb.WHOLE == 2',
    'from wandb import WHOLE; assert WHOLE == 2',
    'import wandb.part; assert wandb.part.HALF == 1',
    'from wandb import part; assert part.HALF == 1'])
def test_wandb_is_loaded_by_the_first_use(imagined_wandb, monkeypatch, use):
    monkeypatch.setattr(sys, 'wandb_ran', False, raising=False)
    wandb = imagined_wandb(WANDB)
    inspect.getmodule(inspect.currentframe(), 'looks at every module')
    assert wandb.__name__ == 'wandb' and wandb.__file__
    assert importlib.util.find_spec('wandb') is wandb.__spec__
    assert not sys.wandb_ran
    exec(use, {})
    assert sys.wandb_ran
    assert type(wandb) is ModuleType and sys.modules['wandb'] is wandb
    with pytest.raises(AttributeError, match="'wandb' has no attribute 'x'"):
        wandb.x  # noqa: B018


def test_a_broken_wandb_fails_when_it_is_used(imagined_wandb):
    wandb = imagined_wandb("raise ImportError('no protobuf')")
    with pytest.raises(ImportError, match='no protobuf'):
        wandb.init()
    assert 'wandb' not in sys.modules


def test_without_wandb_nothing_waits(monkeypatch):
    monkeypatch.delitem(sys.modules, 'wandb', raising=False)
    monkeypatch.setattr(wandb_import, 'find_spec', lambda name: None)
    assert not wandb_import.needed()


# -- OpenCV -----------------------------------------------------------------


def imagine_opencv(folder: Path, monkeypatch: pytest.MonkeyPatch,
                   code: str) -> None:
    """Put an OpenCV whose import runs ``code`` before the real one."""
    forget(monkeypatch, 'cv2')
    (folder / 'cv2').mkdir()
    (folder / 'cv2' / '__init__.py').write_text(code)
    monkeypatch.syspath_prepend(folder)


def test_opencv_without_libgl_says_what_to_install(tmp_path, monkeypatch):
    imagine_opencv(
        tmp_path, monkeypatch, "raise ImportError('libGL.so.1: cannot open "
        "shared object file: No such file or directory')")
    assert opencv.unusable()
    with pytest.raises(ImportError, match='for want of libGL.so.1: replace.*'
                       'pip install opencv-python-headless'):
        opencv.refuse()


def test_missing_opencv_says_what_to_install(tmp_path, monkeypatch):
    imagine_opencv(tmp_path, monkeypatch,
                   "raise ModuleNotFoundError('no cv2', name='cv2')")
    with pytest.raises(ImportError, match='not installed: run `pip install '
                       'opencv-python-headless`'):
        opencv.refuse()


def test_working_opencv_is_left_alone(tmp_path, monkeypatch):
    imagine_opencv(tmp_path, monkeypatch, '')
    assert not opencv.unusable()
