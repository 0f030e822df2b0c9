"""Every command and every Python block of every document is run by a test.

A document has a test of its own, whose ``COMMANDS`` are its lines, or its
commands are pasted here, one after the other, in a folder that holds tiny
versions of the configs. What is not run for real (installing, what takes
hours) is declared, with what stands for it.
"""

import importlib
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import cv2
import pytest
import torch
import yaml
from mmaction.apis import init_recognizer
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from packaging.requirements import Requirement

from mmvidadapt.compat.averaging import whole_state_dicts
from mmvidadapt.compat.checkpoints import read_checkpoint
from tests.conftest import ROOT
from tests.documents import (
    PAGES,
    Command,
    blocks,
    call,
    commands,
    read,
    tiny_config,
)
from tests.scripts import Finished, plain_tool, working_in
from tests.toy_videos import write_video

#: Documents whose blocks a test of their own runs. Spans of prose, and the
#: lines of ``SHARED``, are pasted here.
TESTED = {
    'docs/data.md': 'tests.test_data_doc',
    'docs/descriptions.md': 'tests.test_descriptions_doc',
    'docs/export.md': 'tests.test_export_doc',
    'docs/extending.md': 'tests.test_extending',
    'docs/getting_started.md': 'tests.test_getting_started',
    'docs/mote.md': 'tests.test_mote_doc',
    'docs/msta.md': 'tests.test_msta_doc',
    'docs/own_data.md': 'tests.test_own_data',
    'docs/predict.md': 'tests.test_predict_doc',
    'docs/protocols.md': 'tests.test_protocols_doc',
    'docs/tds_clip.md': 'tests.test_tds_clip_doc',
    'docs/visualize.md': 'tests.test_visualize_doc',
}
SHARED = ('bash', 'pip', 'source')
#: How many Python blocks a document has that is not in ``TESTED``, each with
#: a test below or, those of README.md and mixing.md, in test_readme.py and
#: test_mixed_configs.py.
BLOCKS = {'README.md': 1, 'docs/compatibility.md': 1, 'docs/inti.md': 1,
          'docs/mixing.md': 2, 'docs/text.md': 2, 'docs/weights.md': 6}
#: Commands that are not pasted, and the test that does the same.
ELSEWHERE = {
    'source .venv/bin/activate':
        'tests/test_tools/test_shell_scripts.py::'
        'test_setup_installs_torch_first_and_alone',
    'bash tools/run_tests.sh tests/test_packaging.py':
        'tests/test_tools/test_shell_scripts.py::'
        'test_run_tests_passes_options_and_limits_threads',
    'python -m mmvidadapt.run analysis_tools/confusion_matrix.py CONFIG '
    'CHECKPOINT':
        'tests/test_mmaction_scripts.py::'
        'test_confusion_matrix_counts_every_video',
    'python tools/fidelity.py':
        'tests/test_fidelity.py::test_a_page_is_written_and_then_current',
    'python tools/fidelity.py --check':
        'tests/test_fidelity.py::'
        'test_one_row_that_moved_is_told_and_no_other_has',
    'python tools/mixing.py':
        'tests/test_mixed_configs.py::'
        'test_the_page_is_what_the_table_and_the_configs_say',
    'torchrun --nproc_per_node=8 tools/test_protocol.py ... --launcher '
    'pytorch':
        'tests/test_mote_evaluation.py::'
        'test_two_processes_give_the_scores_of_one',
    'python tools/train.py data/mine/mixed.py':
        'tests/test_readme.py::test_the_config_of_the_readme_trains',
    'python tools/benchmark.py data/mine/config.py --modes memory --dtypes '
    'bf16 --batch 4':
        'tests/test_tools/test_benchmark.py::'
        'test_memory_is_measured_in_a_process_of_its_own',
    # A GPU's batch; without the option, .ci/full runs it.
    'python tools/benchmark.py --batch 8':
        'tests/test_tools/test_benchmark.py::'
        'test_it_measures_reports_writes_and_draws',
}
#: What pip installs beside what is in requirements/, with what a test knows.
PACKAGES = {'mmcv': 'mm', 'onedl-mmcv': 'mm', 'onedl-mmengine': 'mm',
            'onedl-mmpretrain': 'mm', 'pre-commit': 'lint',
            'opencv-python': 'pinned', 'opencv-contrib-python': 'pinned'}
#: The page of usage lines, in which brackets and capitals stand for words.
USAGE = 'tools/README.md'
#: What reads the data set of a config.
READERS = (['tools/train.py'], ['tools/test.py'], ['tools/test_protocol.py'],
           ['tools/visualize.py', 'experts'], ['tools/benchmark.py', '--data'])
CONFIG = 'configs/inti/vitb_k400.py'
#: The data set of each config.
DATA = {model['Config']: model['Results'][0]['Dataset'].split(',')[0]
        for path in ROOT.glob('configs/*/metafile.yml')
        for model in yaml.safe_load(path.read_text())['Models']}
_CHECKPOINT = re.compile(r'(?:CKPT|CHECKPOINT)\d?$')


def pasted(page: str) -> list[Command]:
    """Commands of a document that are pasted here."""
    return [one for one in commands(page) if one.in_prose
            or page not in TESTED or one.words[0] in SHARED]


class Checkout:
    """Somebody's folder: tiny configs where the commands look for them.

    Args:
        goldens (Path): Folder of parity data.
    """

    def __init__(self, goldens: Path) -> None:
        self.goldens = goldens
        self.done: dict[str, str] = {}
        for name in ('walk', 'run'):
            Path('my_videos').mkdir(exist_ok=True)
            write_video(Path('my_videos', f'{name}.mp4'), 20)

    def paste(self, command: Command) -> None:
        """Run a command and see what it leaves behind.

        Args:
            command (Command): The command; what it needs is made first.
        """
        words = command.words
        if words[0] == 'bash':
            words = words[1:]
        if words[0] == 'python':
            words = words[1:]
        assert words[0] in HANDLERS, (
            f'no test runs the command of {command}: give its tool a line in '
            'HANDLERS, the command one in ELSEWHERE, or the document one in '
            'TESTED, of tests/test_docs.py')
        if self.done.setdefault(command.text, command.page) == command.page:
            HANDLERS[words[0]](self, command, words[1:])

    def config(self, word: str) -> str:
        """The config that a word means, tiny and in its place."""
        name = CONFIG if word == 'CONFIG' else word
        path = Path(name)
        if not path.is_file():
            if (ROOT / name).is_file():
                tiny_config(name)
            else:  # one's own
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(Path(self.config(CONFIG)).read_bytes())
        return name

    def checkpoint(self, word: str, config: str) -> str:
        """The checkpoint that a word means, which fits a config."""
        if not _CHECKPOINT.match(word):
            assert Path(word).is_file(), f'nothing has written {word}'
            return word
        path = Path(config.replace('/', '_')).with_suffix(f'.{word}.pth')
        if not path.is_file():
            save(config, path)
        return str(path)

    def call(self, command: Command, words: list[str],
             *more: str) -> Finished:
        """Run a command whose words have been filled in.

        Without its data set, which two generated videos replace.
        """
        if words[0] in ('tools/train.py', 'tools/test.py',
                        'tools/test_protocol.py'):
            if '--synthetic' in words:
                place = words.index('--synthetic')
                numbered = words[place + 1:place + 2] and (
                    words[place + 1].isdigit())
                del words[place:place + 1 + bool(numbered)]
            more = ('--synthetic', '2', *more)
        variables = [f'{key}={value}' for key, value
                     in command.variables.items()]
        return call(shlex.join([*variables, 'python', *words]), *more)


def save(config: str, path: Path) -> None:
    """Save a checkpoint of random weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    init_default_scope('mmaction')
    model = init_recognizer(config, device='cpu')
    with whole_state_dicts():
        torch.save(dict(state_dict=model.state_dict(), meta={}), path)


def option(words: list[str], name: str, default: str = '') -> str:
    """The value of an option of a command."""
    return words[words.index(name) + 1] if name in words else default


# What is known about each tool: what it needs, what it leaves ---------------


def _train(checkout: Checkout, command: Command, words: list[str]) -> None:
    config, *args = words
    config = checkout.config(config)
    work = Path(option(args, '--work-dir',
                       f'work_dirs/{Path(config).stem}'))
    (work / 'epoch_1.pth').unlink(missing_ok=True)
    given = 'model.backbone.encoder.weights='
    weights = [word for word in args if word.startswith(given)]
    if weights:  # a file of the user's
        init_default_scope('mmaction')
        model = MODELS.build(Config.fromfile(config).model)
        torch.save(model.backbone.encoder.state_dict(), 'ViT-B-16.pt')
        args[args.index(weights[0])] = f'{given}ViT-B-16.pt'
    done = checkout.call(command, ['tools/train.py', config, *args])
    assert (work / 'epoch_1.pth').is_file()
    told = 'tensors of the image tower from ViT-B-16.pt' in (
        done.stdout + done.stderr)
    assert told == bool(weights)


def _test(checkout: Checkout, command: Command, words: list[str]) -> None:
    config, checkpoint, *args = words
    config = checkout.config(config)
    work = Path('work_dirs', Path(config).stem)
    for path in work.glob('*/*.json'):
        path.unlink()  # a run of the same second would share it
    if 'SPLIT' in command.variables:
        with mock.patch.dict(os.environ, command.variables):
            assert f'split_{command.variables["SPLIT"]}_' in Config.fromfile(
                config).test_dataloader.dataset.ann_file
    checkout.call(
        command, ['tools/test.py', config,
                  checkout.checkpoint(checkpoint, config), *args],
        '--cfg-options', 'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False')
    result, = work.glob('*/*.json')
    assert 0 <= json.loads(result.read_text())['acc/top1'] <= 1


def _test_protocol(checkout: Checkout, command: Command,
                   words: list[str]) -> None:
    config = next(word for word in words if word.endswith('.py'))
    words = [checkout.config(word) if word.endswith('.py') else
             checkout.checkpoint(word, checkout.config(config))
             if _CHECKPOINT.match(word) else word for word in words]
    name = f'{words[0]}.json'
    for path in Path('work_dirs').glob(f'*/{name}'):
        path.unlink()
    done = checkout.call(command, ['tools/test_protocol.py', *words])
    found, = Path('work_dirs').glob(f'*/{name}')
    assert f'wrote {found}' in done.stdout
    assert json.loads(found.read_text())['data_sets']


def _distributed(checkout: Checkout, command: Command,
                 words: list[str]) -> None:
    """Start what the script would start, once, in this process."""
    config, number, *args = words
    config, number = checkout.config(config), number.replace('GPUS', '2')
    python = Path('record')
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > started\n')
    python.chmod(0o755)
    subprocess.run(
        ['bash', str(ROOT / 'tools' / 'dist_train.sh'), config, number,
         *args], check=True, env={**os.environ, 'PYTHON': './record'})
    started = Path('started').read_text().split()
    assert f'--nproc_per_node={number}' in started
    place = started.index(str(ROOT / 'tools' / 'train.py')) + 1
    rest = started[place:]
    at = rest.index('--launcher')
    assert rest[at + 1] == 'pytorch'
    _train(checkout, command, rest[:at] + rest[at + 2:])


def _get_flops(checkout: Checkout, command: Command,
               words: list[str]) -> None:
    config, *args = words
    done = checkout.call(
        command, ['tools/get_flops.py', checkout.config(config), *args])
    assert re.search(r'^total( +\d+\.\d+){4}$', done.stdout, re.MULTILINE)


def _convert(checkout: Checkout, command: Command, words: list[str]) -> None:
    method, source, target, *args = words
    assert (method, source.startswith('SRC')) == ('tds_clip', True)
    golden = checkout.goldens / 'tds_clip_tiny.pt'
    checkout.call(
        command, ['tools/convert_checkpoint.py', method, str(golden), target,
                  *args], '--override', *heads(golden))
    assert read_checkpoint(target)['state_dict']
    assert Config.fromfile(Path(target).with_suffix('.py')).model


def heads(golden: Path) -> list[str]:
    """Heads of the golden model, which are smaller than published ones."""
    sizes = torch.load(golden, weights_only=True)['config']
    return [f'num_heads={sizes["heads"]}',
            f'side_heads={sizes["side_heads"]}']


def _predict(checkout: Checkout, command: Command, words: list[str]) -> None:
    config, checkpoint, *args = words
    config = checkout.config(config)
    checkout.call(command, [
        'tools/predict.py', config, checkout.checkpoint(checkpoint, config),
        *args])
    told = json.loads(Path(option(args, '--out')).read_text())
    assert len(told['predictions']) == 2
    assert cv2.imread(option(args, '--show')) is not None


def _export_safetensors(checkout: Checkout, command: Command,
                        words: list[str]) -> None:
    source, target = words
    config, *_ = re.findall(
        rf'configs/\w+/{Path(source).parent.name}\.py', read(command.page))
    save(checkout.config(config), Path(source))
    checkout.call(command, ['tools/export_safetensors.py', *words])
    assert Path(target).stat().st_size > 1e5


def _whole_in_ci(checkout: Checkout, command: Command,
                 words: list[str]) -> None:
    """What takes long is a stage of .ci/run or .ci/full, as it stands."""
    stages = re.findall(
        r'^stage (?:\w+ )?(bash tools/.*|"\$MMVIDADAPT_PYTHON" .*)$',
        '\n'.join((ROOT / '.ci' / name).read_text()
                  for name in ('run', 'full')), re.MULTILINE)
    known = [stage.replace('"$MMVIDADAPT_PYTHON"', 'python')
             for stage in stages]
    assert command.text in known, (
        f'{command} is no stage of .ci/run or .ci/full')


def _pip(checkout: Checkout, command: Command, words: list[str]) -> None:
    """Nothing is installed: extras, files and names are looked up."""
    known = {Requirement(line).name for path in (
        ROOT / 'requirements').glob('*.txt')
        for line in path.read_text().splitlines()
        if line and not line.startswith(('#', '-'))}
    with mock.patch('setuptools.setup') as setup, working_in(ROOT):
        runpy.run_path(str(ROOT / 'setup.py'))
    extras = setup.call_args.kwargs['extras_require']
    action, *rest = words
    assert action in ('install', 'uninstall')
    rest = rest[:rest.index('&&')] if '&&' in rest else rest
    found = 0
    for word in rest:
        place = re.fullmatch(r'(?:\.|mmvidadapt)(?:\[(.*)\])?', word)
        if word == '-r':
            continue
        elif word.endswith('.txt'):
            assert (ROOT / word).is_file(), word
        elif place:
            assert not place[1] or {*place[1].split(',')} <= {*extras}, word
        elif not word.startswith('-'):
            name = Requirement(word).name
            assert name in known | {*PACKAGES}, f'{command}: what is {name}?'
        else:
            continue
        found += 1
    assert found


HANDLERS = {
    'tools/train.py': _train,
    'tools/test.py': _test,
    'tools/test_protocol.py': _test_protocol,
    'tools/dist_train.sh': _distributed,
    'tools/get_flops.py': _get_flops,
    'tools/convert_checkpoint.py': _convert,
    'tools/predict.py': _predict,
    'tools/export_safetensors.py': _export_safetensors,
    'tools/quickstart.sh': _whole_in_ci,
    'tools/run_tests.sh': _whole_in_ci,
    'tools/lint.sh': _whole_in_ci,
    'tools/docs.sh': _whole_in_ci,
    'tools/benchmark.py': _whole_in_ci,
    'pip': _pip,
}


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory,
             goldens: Path) -> Iterator[Checkout]:
    with working_in(tmp_path_factory.mktemp('checkout')):
        yield Checkout(goldens)


# The commands ---------------------------------------------------------------


@pytest.mark.parametrize('page', [
    page for page in PAGES if page != USAGE
    and {one.text for one in pasted(page)} - {*ELSEWHERE}])
def test_commands_do_what_they_say(checkout: Checkout, page: str) -> None:
    for command in pasted(page):
        if command.text not in ELSEWHERE:
            checkout.paste(command)


@pytest.mark.parametrize('page', TESTED)
def test_a_test_has_the_commands_of_its_document(page: str) -> None:
    module = importlib.import_module(TESTED[page])
    left = [one.text for one in commands(page)
            if one not in pasted(page) and one.text not in module.COMMANDS]
    assert not left, f'{TESTED[page]} runs none of them: {left}'


@pytest.mark.parametrize('name', ELSEWHERE.values())
def test_what_stands_for_a_command_exists(name: str) -> None:
    file, function = name.split('::')
    assert f'\ndef {function}(' in (ROOT / file).read_text()


def test_nothing_is_declared_that_no_document_says() -> None:
    said = {one.text for page in PAGES for one in commands(page)}
    assert {*ELSEWHERE} <= said
    assert {*TESTED} | {*BLOCKS} <= {*PAGES}


@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU would be used')
def test_two_processes_are_started_by_the_script(checkout: Checkout) -> None:
    command, *_ = [one for one in commands('configs/inti/README.md')
                   if 'dist_train.sh' in one.text]
    script, config, number, *args = command.words
    assert number == '8'
    done = subprocess.run(
        ['bash', str(ROOT / script), checkout.config(config), '2', *args,
         '--synthetic', '4', '--work-dir', 'work_dirs/two'],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, done.stderr[-3000:]
    assert (Path('work_dirs') / 'two' / 'epoch_1.pth').is_file()
    # 4 videos, 2 for each of 2 processes: one step.
    assert read_checkpoint('work_dirs/two/epoch_1.pth')['meta']['iter'] == 1


# What a reader is told ------------------------------------------------------


def wanted(command: Command) -> tuple[str, ...]:
    """What the comment behind a command has to name."""
    needs = []
    words = command.words
    if 'dist_' in words[0] or words[0] == 'bash' and 'dist_' in words[1]:
        needs.append(f'{next(w for w in words if w.isdigit())} GPUs')
    elif not any(words[1:1 + len(tool)] == tool for tool in READERS):
        return ()
    if '--synthetic' in words:
        return ()
    return tuple(needs + [DATA[word] for word in words if word in DATA])


@pytest.mark.parametrize('page', sorted({*PAGES} - {USAGE}))
def test_what_a_command_needs_stands_behind_it(page: str) -> None:
    for command in commands(page):
        needs = () if command.in_prose else wanted(command)
        assert not needs or command.needs == needs, (
            f'write "  # needs {", ".join(needs)}" behind {command}')


@pytest.mark.parametrize('page', ['README.md', USAGE])
def test_the_needs_are_explained(page: str) -> None:
    explained = re.search(r'`# needs[^`]*`(.*?)\n\n', read(page), re.DOTALL)
    assert '`--synthetic`' in explained[1]


# The page of usage lines ----------------------------------------------------


@pytest.mark.parametrize('command', [
    one for one in commands(USAGE) if ' tools/' in one.text],
    ids=lambda one: one.text.split()[1])
def test_a_usage_line_is_that_of_the_help(command: Command) -> None:
    program, script, *words = command.text.split()
    kinds = (words[0].split('|') if words
             and re.match(r'[a-z]', words[0]) else [])
    if program == 'python':
        text = ''.join(plain_tool(
            script.removeprefix('tools/'), *kind, '--help').stdout
            for kind in ([[kind] for kind in kinds] or [[]]))
    else:
        text = (ROOT / script).read_text()
        if script == 'tools/quickstart.sh':
            text = plain_tool('quickstart.py', '--help').stdout
    text = ' '.join(text.split())
    for word in re.findall(r'--[a-z][a-z-]*', command.text):
        assert word in text, word
    for name, choices in re.findall(
            r'(--\w+) (\w+(?:\|\w+)+)', command.text):
        known, = {*re.findall(rf'{name} \{{(.*?)\}}', text)}
        assert {*choices.split('|')} == {*known.split(',')}


def test_every_tool_has_a_usage_line() -> None:
    text = read(USAGE)
    inner = {'find_python.sh', 'setup_env.sh', 'quickstart.py'}
    missing = [path.name for path in (ROOT / 'tools').rglob('*.*')
               if path.suffix in ('.py', '.sh') and path.name not in inner
               and path.name not in text]
    assert not missing


@pytest.mark.parametrize('page', PAGES)
def test_options_named_in_prose_exist(page: str) -> None:
    """Spans such as `tools/merge_experts.py --clip-ratio 0.99`."""
    for span in re.findall(r'`(tools/[\w/]+\.py\s[^`]*)`', read(page)):
        script, *words = span.split()
        assert (ROOT / script).is_file(), span
        text = (ROOT / script).read_text() + (
            ROOT / 'mmvidadapt' / 'apis' / 'cli.py').read_text()
        for word in words:
            if word.startswith('--'):
                assert f"'{word}'" in text, span


# Python blocks --------------------------------------------------------------


def test_every_python_block_has_a_test() -> None:
    found = {page: len(blocks(page)) for page in PAGES
             if blocks(page) and page not in TESTED}
    assert found == BLOCKS, (
        'give the block a test, and its document a line in BLOCKS, or in '
        'TESTED, of tests/test_docs.py')


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the real configs, for configs beside them."""
    init_default_scope('mmaction')
    monkeypatch.chdir(tmp_path)
    Path('configs').symlink_to(ROOT / 'configs')
    return tmp_path


def fragment(page: str, place: int, base: str = '') -> Config:
    """A block of a document as a config, under one that it changes."""
    _, text = blocks(page)[place]
    Path('fragment.py').write_text(
        (f'_base_ = {base!r}\n' if base else '') + text)
    return Config.fromfile('fragment.py', import_custom_modules=False)


def full_size(cfg: dict) -> torch.nn.Module:
    """A part of a model on meta tensors, without its weights."""
    with torch.device('meta'):
        return MODELS.build({**cfg, 'weights': None} if 'arch' in cfg
                            else cfg)


def test_block_of_compatibility_is_what_our_configs_say(root: Path) -> None:
    found = fragment('docs/compatibility.md', 0).custom_imports
    assert found == Config.fromfile(CONFIG).custom_imports


def test_block_of_inti_is_the_config_of_the_paper(root: Path) -> None:
    model = fragment('docs/inti.md', 0).model
    assert model == Config.fromfile(CONFIG).model


def test_blocks_of_text_compare_with_names(root: Path) -> None:
    head = fragment('docs/text.md', 0).cls_head
    trained = Config.fromfile('configs/mote/vitb_k400.py').model.cls_head
    head.text.update(arch=dict(embed_dims=16, num_layers=1, num_heads=2,
                               output_dims=512), weights=None)
    head.templates = 'video'
    built = MODELS.build(head)
    built.eval()
    assert built(torch.randn(2, 8, 512)).shape == (2, 400)
    zero_shot = fragment('docs/text.md', 1, 'configs/mote/vitb_k400.py')
    assert zero_shot.model.cls_head == {**trained, 'classes': 'ucf101'}


def test_blocks_of_weights_are_encoders(root: Path) -> None:
    page = 'docs/weights.md'
    naive = 'configs/inti/vitb_k400_naive.py'
    assert fragment(page, 0, naive).model == Config.fromfile(naive).model
    mae = full_size({**fragment(page, 1).encoder,
                     'type': 'CLIPVisionEncoder'})
    assert mae.conv1.bias is not None and mae.ln_post.eps == 1e-6
    beit = full_size({**fragment(page, 2).encoder,
                      'type': 'CLIPVisionEncoder'})
    table = beit.transformer.resblocks[11].attn.rel_pos_bias.table
    assert table.shape == (27 * 27 + 3, 12)
    viclip = fragment(page, 3).model
    video = full_size(viclip.backbone.encoder)
    text = full_size({**viclip.cls_head.text, 'type': 'CLIPTextEncoder'})
    assert video.kind == 'joint' and text.arch.context_length == 32
    assert viclip.backbone.encoder.weights == viclip.cls_head.text.weights


def test_blocks_of_weights_save_and_convert(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goldens: Path,
        checkout: Checkout) -> None:
    tds_clip = Path(checkout.config('configs/tds_clip/vitb_ssv2.py')).resolve()
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmaction')
    whole, convert = (text for _, text in blocks('docs/weights.md')[4:])
    cfg = Config.fromfile(tds_clip).model
    clip = MODELS.build(cfg).backbone.encoder.state_dict()
    torch.save(clip, 'clip.pt')
    cfg.backbone.encoder.weights = 'clip.pt'
    model = MODELS.build(cfg)
    model.init_weights()
    exec(whole, dict(model=model, torch=torch))
    saved = read_checkpoint('whole.pth')['state_dict']
    left_out = {f'backbone.encoder.{key}' for key in clip}
    assert {*saved} - {*model.state_dict()} == left_out
    golden = goldens / 'tds_clip_tiny.pt'
    names: dict = {}
    exec(convert.replace("'SRC'", repr(str(golden))).replace(
        'num_frames=8', ', '.join(['num_frames=8', *heads(golden)])), names)
    assert names['config']['type'] == 'Recognizer3D'
