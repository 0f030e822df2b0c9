"""docs/mote.md, block by block, on real video files."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.apis.complexity import config_complexity
from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.datasets.class_lists import class_names
from mmvidadapt.models.heads import LinearHead, TextHead
from mmvidadapt.models.necks import MoTE
from mmvidadapt.models.necks.experts import softmax_weights
from tests.conftest import ROOT
from tests.documents import call, files, lines, read
from tests.scripts import working_in, write_list, write_videos
from tests.test_models.test_necks.mote_golden import load_golden
from tests.test_mote_parity import published, tower  # noqa: F401
from tests.test_own_data import results, scalars, train
from tests.tiny import JOINT, write_tiny_config
from tests.toy_videos import write_video

TEXT = read('docs/mote.md')
CLASSES = ('clapping hands', 'jumping', 'opening a jar', 'running',
           'sitting down', 'walking')
CONFIGS = files('docs/mote.md')
COMMANDS = lines('docs/mote.md')
CKPT = 'work_dirs/config/epoch_1.pth'
LINES = [line.replace('CHECKPOINT', CKPT) for line in COMMANDS]
UCF101 = 'configs/mote/vitb_zeroshot_ucf101.py'


def commands(start: str) -> list[str]:
    """The lines of the document that begin so."""
    return [line for line in LINES if line.startswith(f'python {start}')]


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, lists, configs and the checkpoint of a first training."""
    folder = tmp_path_factory.mktemp('checkout')
    (folder / 'configs' / 'mote').mkdir(parents=True)
    for name in ('vitb_k400', 'vitb_zeroshot_ucf101', 'vitb_fewshot_ucf101'):
        write_tiny_config(f'mote/{name}.py', folder / 'configs' / 'mote')
    for name in CLASSES:
        (folder / 'my_videos' / name).mkdir(parents=True)
        for place in range(2):
            write_video(folder / 'my_videos' / name / f'{place}.mp4',
                        num_frames=12 + place)
    with working_in(folder):
        call(LINES[0])
        for name, text in CONFIGS.items():
            Path(name).write_text(
                text.replace('in_channels=512', f'in_channels={JOINT}'))
        call(LINES[1])
        yield folder


def test_every_block_of_the_document_is_tested() -> None:
    assert TEXT.count('```python') == len(CONFIGS)
    assert {Path(name).stem for name in CONFIGS} == {
        name[len('test_'):-len('_works')] for name in globals()
        if name.startswith('test_') and name.endswith('_works')}
    assert [shlex.split(line)[1].removeprefix('tools/')
            for line in LINES] == [
        'data/make_lists.py', 'train.py', 'test.py',  # your own videos
        'test.py', 'test.py', 'test_protocol.py',  # other classes
        'data/make_subsets.py', 'train.py',
        'merge_experts.py', 'test.py', 'merge_experts.py',
        'convert_checkpoint.py', 'convert_checkpoint.py', 'test.py',
        'visualize.py', 'visualize.py']


def test_what_the_document_names_exists() -> None:
    folder = ROOT / 'configs' / 'mote'
    named = set(re.findall(r'`(?:configs/mote/)?(vit\w[\w.-]*?)(?:\.py)?`',
                           TEXT))
    assert len(named) > 3
    assert not [n for n in named if not (folder / f'{n}.py').exists()]
    links = re.findall(r'\]\(([\w/.]+)(?:#[\w-]+)?\)', TEXT)
    assert len(links) > 3
    for link in links:
        assert (ROOT / 'docs' / link).exists(), link
    from mmvidadapt.apis import mote_experts
    assert 'mmvidadapt.apis.mote_experts.study_experts(' in TEXT
    assert callable(mote_experts.study_experts)


def test_options_have_the_values_that_the_document_gives() -> None:
    sizes = dict(embed_dims=8, num_layers=1, num_heads=2)
    neck = MoTE(**sizes)
    switches = TEXT[TEXT.index('| what | option of `MoTE`'):].split('\n\n')[0]
    found = 0
    for option, first, more in re.findall(
            r"`(\w+)=('?\w[\w.]*'?)`((?:, (?:`'\w+'`|`None`))*)", switches):
        default, *others = [eval(value) for value in (
            first, *re.findall(r'`(.*?)`', more))]
        known = (neck.merge_weights if option == 'merge_weights'
                 else getattr(neck, option, default))
        assert option == 'merge_weights' or known == default, option
        for value in others:
            # One expert drawn for ever is merged with no other.
            only = {} if option == 'aggregation' else dict(
                merge_weights=[1, 0, 0, 0])
            MoTE(**sizes, **{option: value, **only})
            found += 1
    assert found >= 12
    chances = [round(100 * weight) for weight in softmax_weights(4, 1)]
    assert f'{chances[0]}, {chances[1]}, {chances[2]} and {chances[3]} %' in (
        TEXT)
    head = TextHead(8, ['a', 'b', 'c', 'd', 'e'], features=torch.eye(5, 8))
    for option in ('merged_weight', 'modulation_k', 'modulation_gamma'):
        assert f'{option}={getattr(head, option):g}' in TEXT


def test_mine_works(checkout: Path) -> None:
    init_default_scope('mmaction')
    model = MODELS.build(Config.fromfile('mine.py').model)
    assert len(model.neck.resblocks[0].mlp.c_fc) == 3
    assert model.neck.beta == 0.8
    assert model.cls_head.modulation_gamma == 0.06


def test_the_first_training_learned_and_named_the_losses(
        checkout: Path) -> None:
    lines = scalars(checkout / 'work_dirs' / 'config')
    steps = [line for line in lines if 'loss' in line]
    for name in ('loss_cls', 'loss_cls_merged', 'loss_mse'):
        assert all(np.isfinite(line[name]) for line in steps)
    assert 'acc/top1' in lines[-1]
    cfg = Config.fromfile('data/mine/config.py')
    assert class_names(cfg.model.cls_head.classes) == list(CLASSES)
    call(LINES[2], '--work-dir', 'work_dirs/tested')
    assert 0 <= results('tested')['acc/top1'] <= 1


def test_shorter_works(checkout: Path) -> None:
    cfg = Config.fromfile('data/mine/shorter.py')
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].T_max == 10
    before = Config.fromfile('data/mine/config.py').param_scheduler[0]
    assert cfg.param_scheduler[0].warmup / 10 == pytest.approx(
        before.warmup / before.T_max)


def test_linear_works(checkout: Path) -> None:
    lines = scalars(train('data/mine/linear.py'))
    assert any('loss_cls_merged' in line for line in lines)
    init_default_scope('mmaction')
    head = MODELS.build(Config.fromfile('data/mine/linear.py').model).cls_head
    assert isinstance(head, LinearHead) and head.num_classes == len(CLASSES)


def test_experts_alone_works(checkout: Path) -> None:
    cfg = Config.fromfile('data/mine/experts_alone.py')
    assert cfg.find_unused_parameters is True
    lines = scalars(train('data/mine/experts_alone.py'))
    assert not any('loss_cls_merged' in line for line in lines)
    # That the config needs to say so, see test_mote_distributed.py.
    init_default_scope('mmaction')
    neck = MODELS.build(cfg.model.neck)
    neck.train()(torch.randn(1, 4, JOINT))[0][1].sum().backward()
    assert any(p.grad is None for p in neck.parameters())


def test_unseen_works(checkout: Path) -> None:
    Path('unseen').mkdir()
    write_videos(Path('unseen'), 3)
    write_list(Path('unseen'), [f'{n}.mp4 {n}' for n in range(3)])
    call(f'python tools/test.py data/mine/unseen.py {CKPT} '
         '--work-dir work_dirs/unseen')
    assert 0 <= results('unseen')['acc/top1'] <= 1
    # The classes of the training stay, those of the test are not in it.
    state = read_checkpoint(CKPT)['state_dict']
    assert len(state['cls_head.finetune_features']) == len(CLASSES)
    assert 'cls_head.class_features' not in state


def test_unseen_classes_are_tested_by_their_names(checkout: Path) -> None:
    whole, unmodulated = commands(f'tools/test.py {UCF101}')
    for name, command in (('ucf', whole), ('ucf_plain', unmodulated)):
        call(command.replace(CKPT, f'{CKPT} --synthetic 2 --work-dir '
                             f'work_dirs/{name}'))
        assert 0 <= results(name)['acc/top1'] <= 1
    protocol, = commands('tools/test_protocol.py')
    call(protocol, '--synthetic', '2', '--work-dir', 'work_dirs/protocol')
    assert list(Path('work_dirs/protocol').glob('*.json'))


def test_few_shot_lists_are_drawn_and_trained_on(checkout: Path) -> None:
    subsets, = commands('tools/data/make_subsets.py')
    source = shlex.split(subsets)[3]
    Path(source).parent.mkdir(parents=True)
    write_list(Path(source).parent, [
        f'{label}/{place}.avi {label}' for label in range(101)
        for place in range(16)], Path(source).name)
    call(subsets)
    cfg = Config.fromfile(ROOT / 'configs/mote/vitb_fewshot_ucf101.py')
    assert Path(cfg.train_dataloader.dataset.dataset.ann_file).is_file()
    few_shot, = commands('tools/train.py configs/mote/vitb_fewshot')
    call(few_shot, '--synthetic', '2', '--work-dir', 'work_dirs/few')
    assert Path('work_dirs/few/merged.pth').is_file()


def test_experts_are_merged_and_mixed_with_clip(checkout: Path) -> None:
    merge, mix = commands('tools/merge_experts.py')
    call(merge)
    tested, = (line for line in LINES if 'work_dirs/merged.pth --cfg' in
               line)
    call(tested.replace(' --cfg', ' --work-dir work_dirs/plain --cfg'))
    call(LINES[2], '--work-dir', 'work_dirs/again')
    assert results('plain').keys() == results('again').keys()
    assert results('plain')['acc/top1'] == results('again')['acc/top1']
    # The encoder of a tiny config starts from nothing, and says so.
    config = 'data/mine/config.py'
    with pytest.raises(AssertionError, match='names no weights'):
        call(mix)
    init_default_scope('mmaction')
    original = MODELS.build(
        Config.fromfile(config).model).backbone.encoder.state_dict()
    torch.save(original, 'start.pth')
    Path('data/mine/named.py').write_text(
        "_base_ = 'config.py'\nmodel = dict(backbone=dict(encoder=dict("
        "weights='start.pth')))\n")
    call(mix.replace(config, 'data/mine/named.py'))
    before, after = (read_checkpoint(path)['state_dict']
                     for path in (CKPT, 'work_dirs/mixed.pth'))
    assert after.keys() == before.keys()  # with experts
    torch.testing.assert_close(
        after['backbone.encoder.proj'],
        .99 * before['backbone.encoder.proj'] + .01 * original['proj'])


def test_published_checkpoints_are_converted_and_tested(
        checkout: Path, goldens: Path,
        tower: list[str]) -> None:  # noqa: F811
    torch.save(published(load_golden(goldens)), 'published.pt')
    for command, names in zip(commands('tools/convert_checkpoint.py'),
                              (['classes=k400'], []), strict=True):
        call(command.replace('SRC', 'published.pt'), '--override', *tower,
             *names, '--cfg-options', 'test_dataloader.num_workers=0',
             'test_dataloader.persistent_workers=False',
             'model.cls_head.templates=[a video of {}.]')
    heads = [Config.fromfile(f'work_dirs/{name}.py').model.cls_head
             for name in ('closed_set', 'zero_shot')]
    assert [head.average_clips for head in heads] == [
        'mote_closed_set', 'mote_zero_shot']
    tested, = commands('tools/test.py work_dirs/zero_shot.py')
    call(
        tested, '--synthetic', '2', '--work-dir', 'work_dirs/published')
    assert 0 <= results('published')['acc/top1'] <= 1


def test_pictures_are_those_of_the_table(checkout: Path) -> None:
    closed, unseen = commands('tools/visualize.py')
    call(closed, '--max-videos', '3')
    call(unseen, '--synthetic', '3')
    table = TEXT[TEXT.index('| file | figure |'):].split('\n\n')[0]
    files = set(re.findall(r'^\| `([\w.]+)`', table, re.MULTILINE)) - {'file'}
    assert {path.name for path in Path('work_dirs/unseen').glob('*.*')
            if path.suffix in ('.png', '.json')} >= files
    assert len(files) == 6
    numbers = json.loads(Path('work_dirs/closed_set/experts.json').read_text())
    assert numbers['videos'] == 3


@pytest.mark.parametrize('row', re.findall(
    r'^\| `(vit\w+)` \|(.*)\|$', TEXT, re.MULTILINE), ids=lambda row: row[0])
def test_sizes_are_what_get_flops_counts(row: tuple[str, str]) -> None:
    init_default_scope('mmaction')
    paper, *counted = [cell.strip() for cell in row[1].split('|')]
    cfg = Config.fromfile(ROOT / 'configs' / 'mote' / f'{row[0]}.py')
    whole = config_complexity(cfg).total
    cfg.model.neck.num_experts = 0
    plain = config_complexity(cfg).total
    assert whole.all_macs == plain.all_macs
    assert counted == [f'{whole.all_macs / 1e9:.1f}',
                       f'{whole.params / 1e6:.1f}',
                       f'{plain.params / 1e6:.1f}']
    if paper:
        assert whole.all_macs / 1e9 == pytest.approx(float(paper), rel=2e-3)
