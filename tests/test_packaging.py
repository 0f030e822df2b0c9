"""What a wheel, an sdist and an editable install contain."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmvidadapt.apis.complexity import config_complexity
from tests.toy_videos import write_video

ROOT = Path(__file__).resolve().parents[1]
TREES = ('configs', 'docs', 'mmvidadapt', 'requirements', 'tests', 'tools')
IGNORED = shutil.ignore_patterns('__pycache__', '*.py[cod]', '.mim')
# Run inside the copy: one hook of the build backend, its name printed last.
BUILD = """
import sys
from setuptools import build_meta
sys.stdout = sys.stderr
name = getattr(build_meta, sys.argv[1])(sys.argv[2])
sys.__stdout__.write(name)
"""


def copy_of_repository(folder: Path) -> Path:
    """Copy what git would hand out; builds never touch the real tree."""
    copy = folder / 'repository'
    copy.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, copy)
        elif path.name in TREES:
            shutil.copytree(path, copy / path.name, ignore=IGNORED)
    return copy


def build(repository: Path, kind: str, out: Path) -> Path:
    """Run one hook of setuptools' build backend, offline."""
    out.mkdir()
    result = subprocess.run(
        [sys.executable, '-c', BUILD, f'build_{kind}', str(out)],
        cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return out / result.stdout


def metadata(wheel: Path) -> str:
    """What a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith('/METADATA'))
        return archive.read(name).decode()


def requirements_of(wheel: Path) -> list[Requirement]:
    """What it needs, with and without extras."""
    return [Requirement(line) for line
            in re.findall(r'^Requires-Dist: (.*)$', metadata(wheel), re.M)]


def files_below(repository: Path, folder: str) -> set[str]:
    """Names of the files in a folder of the copied repository."""
    return {p.relative_to(repository).as_posix()
            for p in (repository / folder).rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_repository(tmp_path_factory.mktemp('packaging'))


@pytest.fixture(scope='module')
def wheel(repository: Path) -> Path:
    return build(repository, 'wheel', repository.parent / 'wheel')


@pytest.fixture(scope='module')
def sdist(repository: Path) -> Path:
    return build(repository, 'sdist', repository.parent / 'sdist')


@pytest.fixture(scope='module')
def expected_mim(repository: Path) -> set[str]:
    """configs/, tools/ and model-index.yml as the repository holds them."""
    names = (files_below(repository, 'configs')
             | files_below(repository, 'tools'))
    assert len(names) > 10
    return names | {'model-index.yml'}


def test_wheel_holds_every_config_tool_and_the_model_index(
        wheel: Path, expected_mim: set[str]) -> None:
    prefix = 'mmvidadapt/.mim/'
    shipped = {name.removeprefix(prefix) for name
               in zipfile.ZipFile(wheel).namelist()
               if name.startswith(prefix)}
    assert shipped == expected_mim


def test_wheel_holds_every_module_and_class_list_and_no_tests(
        wheel: Path, repository: Path) -> None:
    shipped = {name for name in zipfile.ZipFile(wheel).namelist()
               if '.mim/' not in name and '.dist-info/' not in name}
    modules = {name for name in files_below(repository, 'mmvidadapt')
               if name.endswith('.py')}
    assert len(modules) > 5
    lists = files_below(repository, 'mmvidadapt/datasets/class_lists')
    assert 'mmvidadapt/datasets/class_lists/sthv2.txt' in lists
    assert shipped == modules | lists


def test_wheel_names_ranges_and_leaves_mmcv_to_an_extra(wheel: Path) -> None:
    text = metadata(wheel)
    assert 'Requires-Python: >=3.11' in text
    needed = requirements_of(wheel)
    plain = {r.name: r for r in needed if r.marker is None}
    assert {'torch', 'open_clip_torch', 'av', 'mmaction2'} <= set(plain)
    # mmcv and mmcv-lite overwrite each other; so do mmengine and its fork.
    assert not {'mmcv', 'mmcv-lite', 'mmengine', 'mmpretrain'} & set(plain)
    for requirement in plain.values():
        assert requirement.specifier, f'{requirement} has no range'
        assert '==' not in str(requirement.specifier), requirement
    # torch.compiler.set_stance, and safe globals by name, are of torch 2.6.
    for name, old, new in (('torch', '2.5.1', '2.6.0'),
                           ('torchvision', '0.20.1', '0.21.0')):
        assert old not in plain[name].specifier
        assert new in plain[name].specifier
    for extra in ('mm', 'video', 'export', 'optional', 'tests', 'lint',
                  'all'):
        assert f'Provides-Extra: {extra}\n' in text
        assert [r for r in needed
                if r.marker and r.marker.evaluate({'extra': extra})
                and not r.marker.evaluate({'extra': ''})]


@pytest.mark.parametrize('system, machine, readers', [
    ('linux', 'x86_64', {'av', 'decord', 'torchcodec'}),
    ('linux', 'aarch64', {'av', 'torchcodec'}),
    ('darwin', 'arm64', {'av', 'torchcodec'}),
    ('darwin', 'x86_64', {'av'}),
    ('win32', 'AMD64', {'av', 'decord', 'torchcodec'}),
    ('win32', 'ARM64', {'av'})])
def test_a_reader_is_asked_for_where_it_has_wheels(
        wheel: Path, system: str, machine: str, readers: set[str]) -> None:
    def asked_for(extra: str) -> set[str]:
        here = dict(sys_platform=system, platform_machine=machine,
                    extra=extra)
        return {r.name for r in requirements_of(wheel)
                if r.marker is None or r.marker.evaluate(here)}

    known = {'av', 'decord', 'torchcodec'}
    assert asked_for('torchcodec') & known == readers
    assert asked_for('') & known == readers - {'torchcodec'}


def test_a_reader_is_imported_when_a_config_names_it(tmp_path: Path) -> None:
    video = write_video(tmp_path / 'a.mp4', 8)
    code = f'''
import importlib, pkgutil, sys

import mmvidadapt
import mmaction.datasets
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

for module in pkgutil.walk_packages(mmvidadapt.__path__, 'mmvidadapt.'):
    importlib.import_module(module.name)
init_default_scope('mmaction')
pipeline = Compose([
    dict(type='VideoInit'),
    dict(type='SampleFrames', clip_len=4, frame_interval=1, num_clips=1),
    dict(type='VideoDecode')])
READERS = ('av', 'decord', 'torchcodec')
assert not [name for name in READERS if name in sys.modules]
results = pipeline(dict(filename={str(video)!r}, start_index=0))
assert len(results['imgs']) == 4
assert [name for name in READERS if name in sys.modules] == ['av']
'''
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT,
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_rebuilt_wheel_forgets_a_deleted_config(tmp_path: Path) -> None:
    repository = copy_of_repository(tmp_path)
    extra = repository / 'configs' / 'to_be_deleted.py'
    extra.write_text('a = 1\n')
    first = build(repository, 'wheel', tmp_path / 'first')
    extra.unlink()
    second = build(repository, 'wheel', tmp_path / 'second')
    name = 'mmvidadapt/.mim/configs/to_be_deleted.py'
    assert name in zipfile.ZipFile(first).namelist()
    assert name not in zipfile.ZipFile(second).namelist()


def test_sdist_builds_the_same_wheel(
        sdist: Path, wheel: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(sdist, tmp_path)
    unpacked, = tmp_path.iterdir()
    for name in ('LICENSE', 'CHANGELOG.md', 'tests/conftest.py',
                 'requirements/pinned.txt', 'setup.cfg'):
        assert (unpacked / name).is_file(), f'{name} is not in the sdist'
    again = build(unpacked, 'wheel', tmp_path / 'wheel')
    assert (set(zipfile.ZipFile(again).namelist())
            == set(zipfile.ZipFile(wheel).namelist()))


def test_editable_install_links_to_the_working_tree(tmp_path: Path) -> None:
    repository = copy_of_repository(tmp_path)
    editable = build(repository, 'editable', tmp_path / 'editable')
    assert not [n for n in zipfile.ZipFile(editable).namelist()
                if '.mim' in n], 'copies would go stale'
    mim = repository / 'mmvidadapt' / '.mim'
    for name in ('configs', 'tools', 'model-index.yml'):
        assert (mim / name).is_symlink()
        assert (mim / name).resolve() == repository / name
    # A config written later is seen at once, through the installed package.
    (repository / 'configs' / 'written_later.py').write_text('a = 1\n')
    site = tmp_path / 'site'
    zipfile.ZipFile(editable).extractall(site)
    code = ('import importlib.util, pathlib, site, sys;'
            f'site.addsitedir({str(site)!r});'
            'spec = importlib.util.find_spec("mmvidadapt");'
            'folder = pathlib.Path(spec.origin).parent;'
            'print(folder / ".mim" / "configs" / "written_later.py")')
    # -S and an empty folder keep an installed or local mmvidadapt out.
    result = subprocess.run([sys.executable, '-I', '-S', '-c', code],
                            cwd=site, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).resolve() == (
        repository / 'configs' / 'written_later.py')


def test_wheel_after_editable_installs_holds_each_file_once(
        tmp_path: Path) -> None:
    repository = copy_of_repository(tmp_path)
    build(repository, 'editable', tmp_path / 'first')
    build(repository, 'editable', tmp_path / 'second')
    wheel = build(repository, 'wheel', tmp_path / 'wheel')
    mim = [n for n in zipfile.ZipFile(wheel).namelist() if '/.mim/' in n]
    wanted = (files_below(repository, 'configs')
              | files_below(repository, 'tools') | {'model-index.yml'})
    assert sorted(mim) == sorted(f'mmvidadapt/.mim/{n}' for n in wanted)


def pinned() -> dict[str, str]:
    """Name to version, from requirements/pinned.txt."""
    found = {}
    for requirement in lines_of('pinned'):
        name = canonicalize_name(requirement.name)
        assert name not in found, f'{name} is twice'
        exact, = requirement.specifier
        assert exact.operator == '==', requirement
        found[name] = exact.version
    return found


def lines_of(file: str) -> list[Requirement]:
    """What a file of requirements/ names itself."""
    text = (ROOT / 'requirements' / f'{file}.txt').read_text()
    return [Requirement(line) for line in text.splitlines()
            if line and not line.startswith(('#', '-r'))]


def test_pinned_set_has_the_markers_of_the_ranges() -> None:
    ranges = {r.name: r.marker for r in lines_of('runtime')}
    markers = {r.name: r.marker for r in lines_of('pinned') if r.marker}
    assert markers == {'decord': ranges['decord']}
    assert str(markers['decord'])


def test_pinned_set_fits_every_range() -> None:
    versions = pinned()
    for file in ('runtime', 'mm', 'video', 'export', 'optional', 'tests'):
        for requirement in lines_of(file):
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), (
                f'{file}.txt wants {requirement}, pinned.txt has {version}')


def test_pinned_set_is_complete() -> None:
    """It is installed with --no-deps, so nothing may be left out."""
    versions = pinned()
    # The headless build stands in for both (libGL; see pinned.txt).
    replaced = {'opencv-python', 'opencv-contrib-python'}
    looked_at = 0
    for name in versions:
        if name == 'torch':  # installed with what it needs
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # another environment than the pinned one
        if distribution(name).version.partition('+')[0] != versions[name]:
            pytest.skip(f'{name} is not the pinned one')
        looked_at += 1
        for line in needs:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is not None and not marker.evaluate({'extra': ''}):
                continue
            wanted = canonicalize_name(requirement.name)
            assert wanted in versions or wanted in replaced, (
                f'{name} needs {requirement}: add it to pinned.txt')
            if wanted in versions:
                assert requirement.specifier.contains(
                    versions[wanted], prereleases=True), (
                        f'{name} needs {requirement}, pinned is '
                        f'{versions[wanted]}')
    assert looked_at > 30


def metafiles() -> list[Path]:
    """The metafiles that model-index.yml imports."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    return [ROOT / name for name in index['Import']]


def test_model_index_imports_every_metafile() -> None:
    assert set(metafiles()) == set(ROOT.glob('configs/*/metafile.yml'))
    assert metafiles()


@pytest.mark.parametrize('metafile', metafiles(), ids=lambda p: p.parent.name)
def test_metafile_lists_every_config_of_its_method(metafile: Path) -> None:
    content = yaml.safe_load(metafile.read_text())
    collections = {c['Name'] for c in content['Collections']}
    for collection in content['Collections']:
        if metafile.parent.name != 'mixed':  # nobody published these
            assert collection['Paper']['Title']
        assert (ROOT / collection['README']).is_file(), collection['README']
    listed = [model['Config'] for model in content['Models']]
    assert len(listed) == len(set(listed))
    assert set(listed) == {p.relative_to(ROOT).as_posix()
                           for p in metafile.parent.rglob('*.py')}
    for model in content['Models']:
        assert model['In Collection'] in collections
        assert model['Name'].endswith(Path(model['Config']).stem)
        # No accuracy is claimed that nobody here measured.
        assert 'Weights' in model or not any(
            result['Metrics'] for result in model['Results'])


def test_metafiles_have_the_fields_that_openmmlab_s_tools_read() -> None:
    names = set()
    for metafile in metafiles():
        content = yaml.safe_load(metafile.read_text())
        assert content.keys() == {'Collections', 'Models'}
        for collection in content['Collections']:
            paper = collection.get('Paper', {})
            assert paper.keys() <= {'URL', 'Title'}
            assert paper.get('URL', 'https://').startswith('https://')
        for model in content['Models']:
            assert model.keys() - {'Weights'} == {
                'Name', 'Config', 'In Collection', 'Metadata', 'Results'}
            assert model['Name'] not in names
            names.add(model['Name'])
            assert model['Metadata'].keys() >= {
                'Architecture', 'Pretrained', 'Resolution', 'Training Data',
                'FLOPs', 'Parameters'}
            for result in model['Results']:
                assert result.keys() == {'Task', 'Dataset', 'Metrics'}
                assert result['Task'].endswith('Action Recognition')


def wrong_costs(models: list[dict]) -> dict[str, tuple]:
    """Configs whose metafile has other costs than their model."""
    init_default_scope('mmaction')
    wrong = {}
    for model in models:
        total = config_complexity(
            Config.fromfile(ROOT / model['Config'])).total
        ours = (f'{total.all_macs / 1e9:.1f}G', f'{total.params / 1e6:.2f}M')
        told = tuple(model['Metadata'][key] for key in ('FLOPs',
                                                        'Parameters'))
        if told != ours:
            wrong[model['Config']] = ours
    return wrong


@pytest.mark.parametrize('metafile', metafiles(), ids=lambda p: p.parent.name)
def test_costs_of_a_metafile_are_those_of_the_models(metafile: Path) -> None:
    first, *_ = yaml.safe_load(metafile.read_text())['Models']
    assert not wrong_costs([first])


@pytest.mark.slow
@pytest.mark.parametrize('metafile', metafiles(), ids=lambda p: p.parent.name)
def test_all_costs_of_a_metafile_are_those_of_the_models(
        metafile: Path) -> None:
    assert not wrong_costs(yaml.safe_load(metafile.read_text())['Models'])


def test_no_config_folder_of_a_method_lacks_a_metafile() -> None:
    for folder in (ROOT / 'configs').iterdir():
        if folder.is_dir() and folder.name not in ('_base_', 'quickstart'):
            assert (folder / 'metafile.yml').is_file(), folder


@pytest.mark.skipif(shutil.which('git') is None, reason='git is missing')
def test_git_ignores_what_the_documents_write_and_nothing_of_ours(
        tmp_path: Path) -> None:
    def ignored(names: list[str]) -> set[str]:
        found = subprocess.run(
            ['git', '-C', str(tmp_path), 'check-ignore', '--stdin'],
            input='\n'.join(names), capture_output=True, text=True)
        assert found.returncode < 2, found.stderr
        return set(found.stdout.split())

    shutil.copy(ROOT / '.gitignore', tmp_path)
    subprocess.run(['git', 'init', '-q', str(tmp_path)], check=True)
    written = ['data/mine/config.py', 'my_videos/walk/0.mp4', 'tds.py',
               'tds.pth', 'work_dirs/run/epoch_1.pth', 'result.json',
               'walk.mp4', 'sheet.png', 'mote.onnx', 'hmdb51.pt2',
               'vitb_k400.safetensors', 'speed.json', 'prompts.jsonl',
               'descriptions/hmdb51_spatial.json']
    assert ignored(written) == set(written)
    ours = [name for folder in ('configs', 'docs', 'mmvidadapt', 'tests',
                                'tools')
            for name in map(str, (ROOT / folder).rglob('*'))
            if '__pycache__' not in name and '.mim' not in name]
    ours = [str(Path(name).relative_to(ROOT)) for name in ours]
    assert len(ours) > 300 and not ignored(ours)
