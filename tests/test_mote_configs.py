"""The configs of MoTE say what the paper's tables say, row by row."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from mmaction.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.fileio import load as load_pickle
from mmengine.optim import build_optim_wrapper

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.datasets.class_lists import class_names, plain_name
from mmvidadapt.datasets.transforms.label_aware_flip import mirrored_classes
from tests.conftest import ROOT
from tests.scripts import tool, write_videos
from tests.test_configs import learning_rates, load, sampled
from tests.tiny import shrink_model, splits, write_tiny_config

FOLDER = ROOT / 'configs/mote'
README = (FOLDER / 'README.md').read_text()
OPTIONS = re.findall(r'^\| `(model\.\S+)` \|', README, re.MULTILINE)
#: What each ablation of vitl_k400 changes in the model, and nothing else.
ABLATIONS = {
    'text4vis': {'neck.num_experts': 0, 'cls_head.modulate': False},
    'experts': {'neck.merged_branch': None, 'cls_head.modulate': False},
    'experts_wmr': {'neck.mse_weight': 0, 'cls_head.modulate': False},
    'init-same_data-all': {'neck.same_init': True, 'neck.routing': 'all'},
    'init-same': {'neck.same_init': True},
    'data-all': {'neck.routing': 'all'},
    'experts-3': {'neck.num_experts': 3},
    'experts-5': {'neck.num_experts': 5},
    'experts-6': {'neck.num_experts': 6},
    'aggregation-random': {'neck.aggregation': 'random'},
    'aggregation-ensemble': {'neck.aggregation': 'ensemble'},
    'routing-fixed': {'neck.routing': 'fixed'},
    'routing-random': {'neck.routing': 'random'},
    'wmr-point': {'neck.temperature': 'point'},
    'beta-0.8': {'neck.beta': 0.8},
    'beta-1.0': {'neck.beta': 1.0},
    'design-both': {'neck.design': 'both'},
    'design-up': {'neck.design': 'up'},
    'design-down': {'neck.design': 'down'},
    'wmr-kl': {'cls_head.merged_loss': 'kl'},
    'wmr-mse': {'neck.merged_branch': 'mse'},
    'temperature-normal': {'neck.temperature': 'normal'},
    'temperature-uniform': {'neck.temperature': 'uniform'},
}
#: Configs for which the paper has a figure.
PUBLISHED = [model for model in yaml.safe_load(
    (FOLDER / 'metafile.yml').read_text())['Models']
    if 'Paper' in model['Metadata']]


def config(name: str) -> Config:
    return load(f'mote/{name}.py')


@pytest.mark.parametrize(
    'name, arch, dims, layers, frames, classes, epochs, batch, views', [
        ('vitb_k400', 'ViT-B-16', 512, 4, 8, 400, 30, 64, (4, 3)),
        ('vitb_k400_1x1', 'ViT-B-16', 512, 4, 8, 400, 30, 64, (1, 1)),
        ('vitb_k400_16f', 'ViT-B-16', 512, 4, 16, 400, 30, 64, (4, 3)),
        ('vitl_k400', 'ViT-L-14', 768, 6, 8, 400, 20, 48, (4, 3)),
        ('vitl_k400_16f', 'ViT-L-14', 768, 6, 16, 400, 20, 48, (4, 3)),
        ('vitl_ucf101', 'ViT-L-14', 768, 6, 8, 101, 20, 48, (4, 3)),
    ])
def test_training_has_the_recipe_of_the_paper(
        name: str, arch: str, dims: int, layers: int, frames: int,
        classes: int, epochs: int, batch: int, views: tuple) -> None:
    cfg = config(name)
    model = cfg.model
    assert (model.backbone.encoder.arch, model.backbone.num_frames) == (
        arch, frames)
    assert model.neck == dict(
        type='MoTE', embed_dims=dims, num_layers=layers, num_experts=4)
    assert model.cls_head.text.arch == arch
    assert model.cls_head.average_clips == 'mote_closed_set'
    assert len(class_names(model.cls_head.classes)) == classes
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].T_max == epochs
    assert cfg.train_dataloader.batch_size == batch
    crops = dict(CenterCrop=1, WideThreeCrop=3)
    assert (sampled(cfg.test_pipeline)['num_clips'],
            *(crops[step.type] for step in cfg.test_pipeline
              if step.type in crops)) == views
    assert [hook.type for hook in cfg.custom_hooks] == [
        'SampleGuardHook', 'MergeExpertsHook']


@pytest.mark.parametrize('name, epochs', [('vitb_k400', 30),
                                          ('vitl_k400', 20)])
def test_schedule_is_a_warm_up_from_0_and_then_a_cosine_to_0(
        name: str, epochs: int) -> None:
    rates = learning_rates(f'mote/{name}.py', epochs, 10)
    assert rates[:5] == pytest.approx([5e-5 * e / 5 for e in range(5)])
    rest = epochs - 5
    assert rates[5:] == pytest.approx([
        5e-5 / 2 * (1 + math.cos(math.pi * e / rest)) for e in range(rest)])


@pytest.mark.parametrize('name, low', [('vitb_k400', 3.5e-6),
                                       ('vitl_k400', 3e-6)])
def test_clip_and_the_scale_learn_slowly_and_everything_is_decayed(
        name: str, low: float) -> None:
    cfg = config(name)
    shrink_model(cfg)
    assert cfg.optim_wrapper.pop('dtype') == 'float16'
    assert cfg.optim_wrapper.pop('loss_scale') == 'dynamic'
    cfg.optim_wrapper.type = 'OptimWrapper'  # float16 is for GPUs
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(
        model, cfg.optim_wrapper).optimizer.param_groups
    assert {group['weight_decay'] for group in groups} == {0.2}
    assert {group['betas'] for group in groups} == {(0.9, 0.999)}
    rates = {id(p): group['lr'] for group in groups for p in group['params']}
    for key, param in model.named_parameters():
        slow = key.startswith('backbone.') or key == 'cls_head.logit_scale'
        assert rates.pop(id(param)) == pytest.approx(low if slow else 5e-5), (
            key)
    assert not rates


def test_training_frames_are_cropped_flipped_and_sometimes_grey() -> None:
    steps = {s.type: s for s in config('vitb_k400').train_pipeline
             if s.type != 'Resize'}
    assert steps['RandomResizedCrop'].area_range == (0.08, 1.0)
    assert steps['Flip'].flip_ratio == 0.5
    assert steps['ClipGrayscale'].prob == 0.2


@pytest.mark.parametrize('path', sorted(FOLDER.glob('*.py')),
                         ids=lambda path: path.stem)
def test_test_frames_are_not_larger_than_a_crop(path: Path) -> None:
    for split in set(splits(cfg := config(path.stem))) - {'train'}:
        resize, = (step for step in cfg[f'{split}_pipeline']
                   if step.type == 'Resize')
        assert resize.scale == (-1, 224)
        assert resize.interpolation == 'bicubic'


@pytest.mark.parametrize('name, head, merged', [
    ('vitb_k400', 37.8, 98.8), ('vitl_k400', 127.6, 346.6)])
def test_models_have_the_published_size(name: str, head: float,
                                        merged: float) -> None:
    def millions(module: torch.nn.Module) -> float:
        return round(sum(p.numel() for p in module.parameters()) / 1e6, 1)

    def build(num_experts: int) -> torch.nn.Module:
        cfg = config(name)
        cfg.model.neck.num_experts = num_experts
        with torch.device('meta'):
            return MODELS.build(cfg.model)

    assert millions(build(4).neck) == head
    assert millions(build(0)) == merged


@pytest.mark.parametrize('name', ABLATIONS)
def test_each_ablation_changes_what_it_says_and_nothing_else(
        name: str) -> None:
    expected = config('vitl_k400')
    expected.merge_from_dict({
        f'model.{key}': value for key, value in ABLATIONS[name].items()})
    if name == 'experts':  # those that nobody drew have no gradient
        expected.find_unused_parameters = True
    assert config(f'vitl_k400_{name}').to_dict() == expected.to_dict()


def test_every_ablation_is_in_the_table_above() -> None:
    found = {path.stem.removeprefix('vitl_k400_')
             for path in FOLDER.glob('vitl_k400_*.py')}
    assert found == {*ABLATIONS, '16f'}


@pytest.mark.parametrize('model', PUBLISHED, ids=lambda model: model['Name'])
def test_comment_and_readme_have_the_figures_of_the_paper(
        model: dict) -> None:
    text = (ROOT / model['Config']).read_text()
    comment = ' '.join(line.lstrip('# ') for line in text.splitlines()
                       if line.startswith('#'))
    paper = model['Metadata']['Paper']
    top1 = str(paper['Top 1 Accuracy'])
    assert f'Table {paper["Table"]}' in comment
    assert top1 in comment
    row, = re.findall(rf'^\| \[{Path(model["Config"]).stem}\].*$', README,
                      re.MULTILINE)[:1]
    assert f'| {top1.replace("+-", "±")} |' in row
    assert str(paper['Table']) in row


def test_readme_has_a_row_for_every_config() -> None:
    linked = set(re.findall(r'^\| \[(.*?)\]\(\1\.py\) \|', README,
                            re.MULTILINE))
    assert linked == {path.stem for path in FOLDER.glob('*.py')}


# Few shots ------------------------------------------------------------------


@pytest.mark.parametrize('shots', [None, 2, 4, 8, 16])
@pytest.mark.parametrize('name, classes, videos, epochs', [
    ('ucf101', 101, 9537, 10), ('hmdb51', 51, 3570, 10),
    ('ssv2', 174, 168913, 2)])
def test_few_shots_are_repeated_to_the_length_of_the_full_list(
        name: str, classes: int, videos: int, epochs: int, shots: int | None,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('SHOTS', raising=False)
    if shots is not None:
        monkeypatch.setenv('SHOTS', str(shots))
    cfg = config(f'vitb_fewshot_{name}')
    assert len(class_names(cfg.model.cls_head.classes)) == classes
    repeated = cfg.train_dataloader.dataset
    assert repeated.type == 'RepeatDataset'
    assert Path(repeated.dataset.ann_file).name == (
        f'shots{shots or 16}_seed1.txt')
    drawn = classes * (shots or 16)
    assert videos - drawn < repeated.times * drawn <= videos
    schedule = cfg.param_scheduler[0]
    assert cfg.train_cfg.max_epochs == schedule.T_max == epochs
    assert schedule.warmup == pytest.approx(epochs / 6)
    assert sampled(cfg.test_pipeline)['num_clips'] == 1


def test_something_is_flipped_with_its_label() -> None:
    cfg = config('vitb_fewshot_ssv2')
    flips = [step for step in cfg.train_pipeline if 'Flip' in step.type]
    assert flips == [
        dict(type='LabelAwareFlip', classes='sthv2', flip_ratio=0.5)]


def test_a_few_shot_run_trains_on_repeated_videos(tmp_path: Path) -> None:
    lines = write_videos(tmp_path, 2)
    dataset = 'train_dataloader__dataset'
    trained = write_tiny_config(
        'mote/vitb_fewshot_hmdb51.py', tmp_path, **{
            f'{dataset}__times': 3,
            f'{dataset}__dataset__ann_file': str(lines),
            f'{dataset}__dataset__data_prefix__video': str(tmp_path)})
    work = tmp_path / 'work'
    done = tool('train.py', trained, '--work-dir', str(work),
                '--no-validate')
    assert done.returncode == 0, done.stderr[-3000:]
    # 3 x 2 videos, 2 at a time.
    assert '[1][3/3]' in done.stdout + done.stderr


# Base to novel --------------------------------------------------------------


@pytest.mark.parametrize('name, classes, base, novel, epochs', [
    ('ucf101', 'ucf101', 51, 50, 10), ('hmdb51', 'hmdb51', 26, 25, 10),
    ('k400', 'k400', 200, 200, 2), ('ssv2', 'sthv2', 87, 87, 2)])
def test_the_environment_chooses_half_and_seed(
        name: str, classes: str, base: int, novel: int, epochs: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ('HALF', 'SEED', 'SHOTS'):
        monkeypatch.delenv(variable, raising=False)
    cfg = config(f'vitb_base-novel_{name}')
    repeated = cfg.train_dataloader.dataset
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].T_max == epochs
    assert len(class_names(cfg.model.cls_head.classes)) == base
    assert Path(repeated.dataset.ann_file).name == 'base_shots16_seed1.txt'
    assert Path(cfg.ann_file_val).name == 'base_test.txt'
    assert sampled(cfg.test_pipeline)['num_clips'] == 1
    monkeypatch.setenv('SEED', '3')
    monkeypatch.setenv('HALF', 'novel')
    other = config(f'vitb_base-novel_{name}')
    # Nobody trains on novel classes: there is no such list.
    assert Path(other.train_dataloader.dataset.dataset.ann_file).name == (
        'novel_shots16_seed3.txt')
    assert other.model.cls_head.classes == f'{classes}_novel'
    assert len(class_names(f'{classes}_novel')) == novel
    assert Path(other.test_dataloader.dataset.ann_file).name == (
        'novel_test.txt')
    whole = {plain_name(one) for one in class_names(classes)}
    halves = [{plain_name(one) for one in class_names(f'{classes}_{half}')}
              for half in ('base', 'novel')]
    assert halves[0] | halves[1] == whole and not halves[0] & halves[1]
    # Fewer shots are repeated as often as needed for the same epoch.
    monkeypatch.setenv('SHOTS', '4')
    few = config(f'vitb_base-novel_{name}').train_dataloader.dataset
    assert Path(few.dataset.ann_file).name == 'novel_shots4_seed3.txt'
    assert 4 * repeated.times <= few.times < 4 * (repeated.times + 1)


def test_left_and_right_are_told_apart_among_base_classes() -> None:
    flips = [step for step in config('vitb_base-novel_ssv2').train_dataloader
             .dataset.dataset.pipeline if 'Flip' in step.type]
    assert flips == [dict(
        type='LabelAwareFlip', classes='sthv2_base', flip_ratio=0.5)]
    assert mirrored_classes(class_names('sthv2_base')) != [*range(87)]
    assert None not in mirrored_classes(class_names('sthv2_base'))
    # No pair is torn.
    assert mirrored_classes(class_names('sthv2_novel')) == [*range(87)]


def test_a_model_of_base_classes_is_tested_on_both_halves(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Path(write_tiny_config('mote/vitb_base-novel_hmdb51.py',
                                     tmp_path))
    # What is written has no variables left: put them back.
    trained.write_text(trained.read_text().replace(
        "'hmdb51_base'", "'hmdb51_{{$HALF:base}}'"))
    work = tmp_path / 'work'
    done = tool('train.py', str(trained), '--work-dir', str(work),
                '--synthetic', '2')
    assert done.returncode == 0, done.stderr[-3000:]
    state = read_checkpoint(work / 'merged.pth')['state_dict']
    assert len(state['cls_head.finetune_features']) == 26
    monkeypatch.chdir(tmp_path)
    done = tool('test_protocol.py', 'base-novel', '--data', str(trained),
                str(work / 'merged.pth'), '--synthetic', '26',
                '--cfg-options', 'model.neck.num_experts=0')
    assert done.returncode == 0, done.stderr[-3000:]
    saved = json.loads((tmp_path / 'work_dirs' / (
        'base-novel_vitb_base-novel_hmdb51') / 'base-novel.json').read_text())
    mean = saved['data_sets']['vitb_base-novel_hmdb51']['mean']
    assert mean.keys() == {'base', 'novel', 'harmonic_mean'}
    assert all(0 <= value <= 100 for value in mean.values())


# Zero shot ------------------------------------------------------------------


@pytest.mark.parametrize('backbone, dataset, classes', [
    ('vitb', 'ucf101', 101), ('vitb', 'hmdb51', 51), ('vitb', 'k600', 160),
    ('vitl', 'ucf101', 101), ('vitl', 'hmdb51', 51), ('vitl', 'k600', 160),
    ('vitl', 'k400', 400)])
def test_a_zero_shot_test_differs_from_the_training_in_the_classes(
        backbone: str, dataset: str, classes: int) -> None:
    trained = config(f'{backbone}_k400').model
    cfg = config(f'{backbone}_zeroshot_{dataset}')
    assert len(class_names(cfg.model.cls_head.classes)) == classes
    trained.cls_head.classes = cfg.model.cls_head.classes
    trained.cls_head.average_clips = 'mote_zero_shot'
    assert cfg.model == trained
    assert sampled(cfg.test_pipeline)['num_clips'] == 3
    assert cfg.test_pipeline[4].type == 'CenterCrop'


@pytest.mark.parametrize('dataset', ['ucf101', 'hmdb51', 'k600'])
def test_the_environment_chooses_the_split(
        dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f'vitb_zeroshot_{dataset}'
    lists, classes = [], []
    monkeypatch.delenv('SPLIT', raising=False)
    default = config(name)
    for split in '123':
        monkeypatch.setenv('SPLIT', split)
        cfg = config(name)
        lists.append(cfg.test_dataloader.dataset.ann_file)
        classes.append(class_names(cfg.model.cls_head.classes))
        if split == '1':
            assert cfg.to_dict() == default.to_dict()
    assert [re.search(r'_(\d)_', path)[1] for path in lists] == [*'123']
    different = len({tuple(names) for names in classes})
    assert different == (3 if dataset == 'k600' else 1)


def test_a_checkpoint_of_one_data_set_is_tested_on_another(
        tmp_path: Path) -> None:
    """Also merged, and by the options that the README names."""
    trained = write_tiny_config('mote/vitb_k400.py', tmp_path)
    other = write_tiny_config('mote/vitb_zeroshot_hmdb51.py', tmp_path)
    work = ('--work-dir', str(tmp_path / 'work'))
    done = tool('train.py', trained, *work, '--synthetic', '2')
    assert done.returncode == 0, done.stderr[-3000:]
    scores = []
    for file, *options in (
            ('epoch_1.pth', ), ('merged.pth', 'model.neck.num_experts=0')):
        out = tmp_path / f'{file}.pkl'
        done = tool('test.py', other, str(tmp_path / 'work' / file), *work,
                    '--synthetic', '2', '--dump', str(out),
                    *(['--cfg-options', *options] if options else []))
        assert done.returncode == 0, done.stderr[-3000:]
        scores.append(torch.stack([
            video['pred_score'] for video in load_pickle(out)]))
    assert scores[0].shape == (2, 51)
    assert torch.allclose(scores[0], scores[1], atol=1e-6)


def test_a_checkpoint_of_ucf101_is_tested_on_kinetics(
        tmp_path: Path) -> None:
    """Table 7e, the other way round than the zero-shot tests."""
    work = ('--work-dir', str(tmp_path / 'work'), '--synthetic', '2')
    done = tool('train.py', write_tiny_config(
        'mote/vitl_ucf101.py', tmp_path), *work)
    assert done.returncode == 0, done.stderr[-3000:]
    state = read_checkpoint(tmp_path / 'work' / 'epoch_1.pth')['state_dict']
    assert len(state['cls_head.finetune_features']) == 101
    out = tmp_path / 'scores.pkl'
    done = tool('test.py', write_tiny_config(
        'mote/vitl_zeroshot_k400.py', tmp_path),
        str(tmp_path / 'work' / 'epoch_1.pth'), *work, '--dump', str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    assert [video['pred_score'].shape for video in load_pickle(out)] == [
        (400, ), (400, )]


@pytest.mark.parametrize('option', OPTIONS)
def test_an_option_of_the_readme_changes_the_test(option: str) -> None:
    key, value = option.split('=', 1)
    cfg = config('vitl_zeroshot_ucf101')
    shrink_model(cfg)
    before = MODELS.build(cfg.model)
    cfg.merge_from_dict({key: DictAction._parse_iterable(value)})
    after = MODELS.build(cfg.model)
    part, name = key.split('.')[1:]
    assert getattr(getattr(after, part), name) != (
        getattr(getattr(before, part), name))


def test_the_readme_names_options() -> None:
    assert len(OPTIONS) == 7
