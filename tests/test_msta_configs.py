"""The configs of MSTA say what its tables and logs say, row by row."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from mmaction.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.fileio import load as load_pickle
from mmengine.optim import build_optim_wrapper

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.datasets import class_descriptions
from mmvidadapt.datasets.class_lists import class_names, plain_name
from tests.conftest import ROOT
from tests.scripts import tool
from tests.test_configs import learning_rates, load, sampled
from tests.tiny import shrink_model, splits, write_tiny_config

FOLDER = ROOT / 'configs/msta'
README = (FOLDER / 'README.md').read_text()
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))
VARIED = 'vitb_base-novel_ucf101'
BASELINES = ('adaptformer', 'lora', 'full')
#: What each ablation changes in the model, and nothing else.
ABLATIONS = {
    'towers-text': {'adapter.towers': ['text']},
    'towers-video': {'adapter.towers': ['visual']},
    'unshared': {'adapter.shared': False},
    'dims-64': {'adapter.bottleneck_dims': 64},
    'dims-128': {'adapter.bottleneck_dims': 128},
    'dims-512': {'adapter.bottleneck_dims': 512},
    'scale-0.001': {'adapter.scale': 0.001},
    'scale-0.01': {'adapter.scale': 0.01},
    'scale-0.05': {'adapter.scale': 0.05},
    'alpha-0.1': {'consistency.weight': 0.1},
    'alpha-5.0': {'consistency.weight': 5.0},
    'sentences-4': {
        f'consistency.{kind}':
            f'data/descriptions/4_{kind[0]}_description_ucf_101.json'
        for kind in ('spatial', 'temporal')},
    'sentences-8': {
        f'consistency.{kind}':
            f'data/descriptions/8_{kind[0]}_description_ucf_101.json'
        for kind in ('spatial', 'temporal')},
    'blocks-1-6': {'adapter.layers': [0, 1, 2, 3, 4, 5]},
    'blocks-7-12': {'adapter.layers': [6, 7, 8, 9, 10, 11]},
    'blocks-8-12': {'adapter.layers': [7, 8, 9, 10, 11]},
    'blocks-10-12': {'adapter.layers': [9, 10, 11]},
    'descriptions-none': {'consistency': None},
    'descriptions-temporal': {'consistency.spatial': None},
    'descriptions-spatial': {'consistency.temporal': None},
}
#: Options of the README for the ablations.
OPTIONS = dict(re.findall(
    rf'^\| \[{VARIED}_(\S+)\]\(\S+\) \| \w+ \| `(model.*?)` \|', README,
    re.MULTILINE))
#: Configs for which the paper has a figure.
PUBLISHED = [model for model in yaml.safe_load(
    (FOLDER / 'metafile.yml').read_text())['Models']
    if 'Paper' in model['Metadata']]


def config(name: str) -> Config:
    return load(f'msta/{name}.py')


@cache
def trained(name: str) -> int:
    """Parameters that train, at full size."""
    with torch.device('meta'):
        model = MODELS.build(config(name).model)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def views(cfg: Config) -> tuple[int, int]:
    """Clips and crops of a test video."""
    crops = dict(CenterCrop=1, ThreeCrop=3)
    number, = (crops[step.type] for step in cfg.test_pipeline
               if step.type in crops)
    return sampled(cfg.test_pipeline)['num_clips'], number


# Recipes --------------------------------------------------------------------


@pytest.mark.parametrize(
    'name, classes, batch, lr, epochs, scale, dims, blocks, number, test', [
        # Table 1, base to novel
        ('vitb_base-novel_k400', 200, 32, 1e-3, 11, 0.005, 256,
         range(12), 2, (4, 3)),
        ('vitb_base-novel_ssv2', 87, 32, 1e-3, 11, 0.005, 256,
         range(12), 2, (2, 3)),
        ('vitb_base-novel_hmdb51', 26, 32, 1e-3, 11, 0.005, 256,
         range(12), 2, (10, 3)),
        ('vitb_base-novel_ucf101', 51, 32, 1e-3, 11, 0.005, 256,
         range(12), 2, (5, 3)),
        # few-shot, the numbers of sentences from the logs
        ('vitb_fewshot_ssv2', 174, 32, 1e-3, 50, 0.005, 128,
         range(7, 12), 8, (2, 3)),
        ('vitb_fewshot_hmdb51', 51, 32, 1e-3, 50, 0.005, 128,
         range(7, 12), 2, (10, 3)),
        ('vitb_fewshot_ucf101', 101, 32, 1e-3, 50, 0.005, 128,
         range(7, 12), 8, (5, 3)),
        # zero-shot transfer and fully supervised
        ('vitb_k400', 400, 256, 8e-3, 100, 0.001, 128, range(12), 2, (4, 3)),
        ('vitb_k400_1x1', 400, 256, 8e-3, 100, 0.001, 128, range(12), 2,
         (1, 1)),
        ('vitb_k400_dims-256', 400, 256, 8e-3, 100, 0.001, 256, range(12), 2,
         (4, 3)),
        # Not in the paper
        ('vitl_k400', 400, 256, 8e-3, 100, 0.001, 128, range(24), 2, (4, 3)),
    ])
def test_training_has_the_recipe_of_its_row(
        name: str, classes: int, batch: int, lr: float, epochs: int,
        scale: float, dims: int, blocks: range, number: int,
        test: tuple) -> None:
    cfg = config(name)
    model = cfg.model
    assert model.adapter == dict(
        type='MSTA', layers=[*blocks], bottleneck_dims=dims, scale=scale,
        dropout=0.1)
    assert len(class_names(model.cls_head.classes)) == classes
    assert model.cls_head.templates == 'video'
    # alpha 1.0 is the default of the loss
    assert {*model.consistency} == {'spatial', 'temporal'}
    for kind, path in model.consistency.items():
        assert Path(path).parent.as_posix() == 'data/descriptions'
        assert Path(path).name.startswith(f'{number}_{kind[0]}_description')
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].T_max == epochs
    assert cfg.param_scheduler[0].warmup == 5
    assert cfg.optim_wrapper.type == 'OptimWrapper'  # float32
    assert cfg.optim_wrapper.optimizer.lr == lr
    assert 8 * cfg.train_dataloader.batch_size == batch
    assert views(cfg) == test


def test_the_schedule_is_that_of_the_logs() -> None:
    rates = learning_rates('msta/vitb_fewshot_hmdb51.py', 50, 13)
    logged = {0: 0., 1: 2.0e-4, 5: 9.75773e-4, 10: 9.05463e-4, 25: 5.05e-4,
              49: 1.0977e-5}
    # All digits that the logs print.
    assert {epoch: round(rates[epoch], 9) for epoch in logged} == logged


def test_everything_that_trains_is_decayed_and_is_an_adapter() -> None:
    cfg = config('vitb_fewshot_hmdb51')
    shrink_model(cfg)
    cfg.model.consistency = None
    model = MODELS.build(cfg.model)
    group, = build_optim_wrapper(
        model, cfg.optim_wrapper).optimizer.param_groups
    assert group['weight_decay'] == 1e-3
    assert group['betas'] == (0.9, 0.98)
    assert group['eps'] == 1e-8
    assert {id(p) for p in group['params']} == {
        id(p) for p in model.adapter.parameters()}


@pytest.mark.parametrize('name, number', [
    ('vitb_base-novel_ucf101', 8_712_192), ('vitb_k400_dims-256', 8_712_192),
    ('vitb_fewshot_ssv2', 1_744_000), ('vitb_k400', 4_185_600),
    ('vitb_base-novel_ucf101_dims-64', 2_069_760),
    ('vitb_base-novel_ucf101_dims-128', 4_185_600),
    ('vitb_base-novel_ucf101_dims-512', 18_972_672),
    ('vitb_base-novel_ucf101_unshared', 7_922_688),
    ('vitb_base-novel_ucf101_blocks-8-12', 3_630_080),
    ('vitb_base-novel_ucf101_blocks-10-12', 2_178_048),
    ('vitb_k400_adaptformer', 7_885_824), ('vitb_k400_lora', 9_400_320),
    ('vitb_k400_full', 149_603_840), ('vitl_k400', 9_183_744)])
def test_as_many_parameters_train_as_the_tables_say(name: str,
                                                    number: int) -> None:
    assert trained(name) == number
    text = (FOLDER / f'{name}.py').read_text()
    for said in re.findall(r'(\d+,\d{3},\d{3}) parameters', text):
        assert said == f'{number:,}'


def test_full_fine_tuning_is_that_of_table_5_without_the_embedding() -> None:
    with torch.device('meta'):
        model = MODELS.build(config('vitb_k400_full').model)
    tokens = model.text_encoder.token_embedding.weight.numel()
    assert trained('vitb_k400_full') - tokens == 124_306_944


def test_adapters_of_the_large_model_are_paired_two_to_one() -> None:
    cfg = config('vitl_k400')
    shrink_model(cfg)
    cfg.model.consistency = None
    adapter = MODELS.build(cfg.model).adapter
    assert [*adapter.shared] == [str(layer) for layer in range(24)]
    for layer in range(24):
        video, = adapter.visual.at(layer)['beside_block']
        shared = adapter.shared[str(layer)]
        assert video._lent == (shared, )
        if layer % 2 == 0:
            text, = adapter.text.at(layer // 2)['beside_block']
            assert text._lent == (shared, )


# Frames ---------------------------------------------------------------------


def test_training_frames_are_changed_as_in_vifi_clip() -> None:
    steps = [dict(step) for step in config('vitb_k400').train_pipeline[3:9]]
    assert steps == [
        dict(type='Resize', scale=(-1, 256)),
        dict(type='MultiScaleCrop', input_size=224,
             scales=(1, 0.875, 0.75, 0.66), random_crop=False,
             max_wh_scale_gap=1),
        dict(type='Resize', scale=(224, 224), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
        dict(type='ClipColorJitter', prob=0.8, per_frame=True),
        dict(type='ClipGrayscale', prob=0.2)]


@pytest.mark.parametrize('name', [
    n for n in NAMES if 'zeroshot' not in n and n.count('_') < 3])
def test_all_train_on_the_same_kind_of_clips(name: str) -> None:
    assert (config(name).train_pipeline
            == config('vitb_k400').train_pipeline)


def test_a_frame_stands_for_each_of_8_equal_segments() -> None:
    cfg = config('vitb_k400_1x1')
    centres = sampled(cfg.test_pipeline)['frame_inds']
    # 100 frames, segments of 12.5 frames; frames are whole numbers.
    assert centres.tolist() == [
        int(12.5 * (place + 0.5)) for place in range(8)]
    for _ in range(20):
        drawn = sampled(cfg.train_pipeline)['frame_inds']
        for place, frame in enumerate(drawn):
            assert int(12.5 * place) <= frame < int(12.5 * (place + 1))


@pytest.mark.parametrize('name', ['hmdb51', 'ucf101', 'ssv2'])
def test_test_clips_are_evenly_shifted_or_drawn(name: str) -> None:
    cfg = config(f'vitb_fewshot_{name}')
    clips = views(cfg)[0]
    found = sampled(cfg.test_pipeline)
    first = found['frame_inds'].reshape(clips, 8)
    assert (sampled(cfg.test_pipeline)['frame_inds'].reshape(clips, 8)
            == first).all()
    assert (first[1:] > first[:-1]).all()
    option, = re.findall(r'`(test_dataloader\S+test_mode=\w+)`', README)
    key, value = option.split('=')
    cfg.merge_from_dict({key: DictAction._parse_iterable(value)})
    drawn = sampled(cfg.test_dataloader.dataset.pipeline)
    assert drawn['num_clips'] == clips
    again = sampled(cfg.test_dataloader.dataset.pipeline)['frame_inds']
    assert (again != drawn['frame_inds']).any()
    rows = drawn['frame_inds'].reshape(clips, 8)
    assert len({tuple(row) for row in rows.tolist()}) == clips


def test_flips_are_switched_off_by_an_option() -> None:
    cfg = config('vitb_fewshot_ssv2')
    option, = re.findall(r'`(train_dataloader\S+flip_ratio=0)`', README)
    key, value = option.split('=')
    cfg.merge_from_dict({key: DictAction._parse_iterable(value)})
    flip = cfg.train_dataloader.dataset.pipeline[6]
    assert flip == dict(type='Flip', flip_ratio=0)


# Descriptions ---------------------------------------------------------------


@pytest.mark.parametrize('name', [
    name for name in NAMES if 'zeroshot' not in name])
def test_the_files_described_are_of_these_classes(
        name: str, tmp_path: Path) -> None:
    model = config(name).model
    lists = dict(k400='k400', hmdb='hmdb51_msta', ssv2='sthv2',
                 ucf_101='ucf101')
    for path in (model.consistency or {}).values():
        if not isinstance(path, str):
            continue
        data = re.fullmatch(r'\d_[st]_description_(\w+)', Path(path).stem)[1]
        file = tmp_path / Path(path).name
        file.write_text(json.dumps({
            str(place): [written] for place, written in enumerate(
                class_names(lists[data]))}))
        found = class_descriptions(file, model.cls_head.classes)
        assert [plain_name(own) for own, in found] == [
            plain_name(own) for own in class_names(model.cls_head.classes)]


# Ablations and baselines ----------------------------------------------------


@pytest.mark.parametrize('name', ABLATIONS)
def test_each_ablation_changes_what_it_says_and_nothing_else(
        name: str) -> None:
    expected = config(VARIED)
    expected.merge_from_dict({
        f'model.{key}': value for key, value in ABLATIONS[name].items()})
    assert config(f'{VARIED}_{name}').to_dict() == expected.to_dict()


@pytest.mark.parametrize('name', ABLATIONS)
def test_the_option_of_the_readme_is_the_ablation(name: str) -> None:
    found = Config(dict(model=config(VARIED).model))
    found.merge_from_dict({
        key: DictAction._parse_iterable(value) for key, value in (
            option.split('=', 1) for option in OPTIONS[name].split())})
    wanted = config(f'{VARIED}_{name}').model
    if name.startswith('towers'):  # one name is as good as a list of it
        found.model.adapter.towers = [found.model.adapter.towers]
    assert found.model == wanted


def test_every_ablation_is_in_the_table_above() -> None:
    assert {name.removeprefix(f'{VARIED}_') for name in NAMES
            if name.startswith(f'{VARIED}_')} == {*ABLATIONS, *BASELINES}


@pytest.mark.parametrize('name', BASELINES)
@pytest.mark.parametrize('whole', ['vitb_k400', VARIED])
def test_a_baseline_has_another_model_on_the_same_videos(
        whole: str, name: str) -> None:
    ours, theirs = config(whole), config(f'{whole}_{name}')
    assert theirs.model.adapter is theirs.model.consistency is None
    for part in ('train_dataloader', 'test_dataloader', 'val_dataloader'):
        assert ours[part] == theirs[part]
    assert ours.model.cls_head == theirs.model.cls_head
    slow = {'vitb_k400': 8e-6, VARIED: 2e-6}
    assert theirs.optim_wrapper.optimizer.lr == (
        slow[whole] if name == 'full' else ours.optim_wrapper.optimizer.lr)


# What the environment chooses -----------------------------------------------


@pytest.mark.parametrize('shots', [None, 2, 4, 8, 16])
@pytest.mark.parametrize('name', ['ucf101', 'hmdb51', 'ssv2'])
def test_the_environment_chooses_the_shots(
        name: str, shots: int | None,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('SHOTS', raising=False)
    if shots is not None:
        monkeypatch.setenv('SHOTS', str(shots))
    cfg = config(f'vitb_fewshot_{name}')
    assert Path(cfg.train_dataloader.dataset.ann_file).name == (
        f'shots{shots or 16}_seed1.txt')
    assert cfg.train_dataloader.dataset.type == 'VideoDataset'  # no repeats


@pytest.mark.parametrize('name, classes', [
    ('ucf101', 'ucf101'), ('hmdb51', 'hmdb51'), ('k400', 'k400'),
    ('ssv2', 'sthv2')])
def test_the_environment_chooses_half_and_seed(
        name: str, classes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ('HALF', 'SEED', 'SHOTS'):
        monkeypatch.delenv(variable, raising=False)
    cfg = config(f'vitb_base-novel_{name}')
    assert cfg.model.cls_head.classes == f'{classes}_base'
    assert Path(cfg.train_dataloader.dataset.ann_file).name == (
        'base_shots16_seed1.txt')
    assert Path(cfg.test_dataloader.dataset.ann_file).name == 'base_test.txt'
    monkeypatch.setenv('SEED', '3')
    monkeypatch.setenv('HALF', 'novel')
    other = config(f'vitb_base-novel_{name}')
    assert other.model.cls_head.classes == f'{classes}_novel'
    assert Path(other.test_dataloader.dataset.ann_file).name == (
        'novel_test.txt')
    assert other.train_dataloader.dataset.ann_file.endswith('_seed3.txt')
    assert other.test_pipeline == cfg.test_pipeline


@pytest.mark.parametrize('size', ['vitb', 'vitl'])
@pytest.mark.parametrize('name, classes', [
    ('ucf101', 101), ('hmdb51', 51), ('k600', 160)])
def test_a_zero_shot_test_differs_from_the_training_in_the_classes(
        size: str, name: str, classes: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('SPLIT', raising=False)
    cfg = config(f'{size}_zeroshot_{name}')
    own = config(f'{size}_k400').model
    assert len(class_names(cfg.model.cls_head.classes)) == classes
    own.cls_head.classes = cfg.model.cls_head.classes
    del own.consistency  # for training alone
    assert cfg.model == own
    assert views(cfg) == (1, 1)
    lists = []
    for split in '123':
        monkeypatch.setenv('SPLIT', split)
        other = config(f'{size}_zeroshot_{name}')
        lists.append(other.test_dataloader.dataset.ann_file)
        # The classes of Kinetics-600 are those of the list.
        assert other.model.cls_head.classes == (
            f'k600_zeroshot_{split}' if name == 'k600' else name)
    assert [re.search(r'_(\d)_', path)[1] for path in lists] == [*'123']
    assert lists[0] == cfg.ann_file_val
    assert cfg.model.cls_head.classes in (name, 'k600_zeroshot_1')


# Figures --------------------------------------------------------------------


@pytest.mark.parametrize('model', PUBLISHED, ids=lambda model: model['Name'])
def test_comment_and_readme_have_the_figures_of_the_paper(
        model: dict) -> None:
    stem = Path(model['Config']).stem
    comment = ' '.join(
        line.lstrip('# ') for line in
        (ROOT / model['Config']).read_text().splitlines()
        if line.startswith('#'))
    row, = re.findall(rf'^\| \[{stem}\].*$', README, re.MULTILINE)
    paper = model['Metadata']['Paper']
    assert f'Table {paper["Table"]}' in comment
    assert f'| {paper["Table"]} |' in row
    if 'Base' in paper:
        parts = [str(paper[key]) for key in ('Base', 'Novel', 'HM')]
        base, novel, mean = parts
        assert f'base {base}, novel {novel}, HM {mean}' in comment
        assert f'| {", ".join(parts)} |' in row
        # The figures belong together, as far as they are rounded.
        assert 2 / (1 / float(base) + 1 / float(novel)) == pytest.approx(
            float(mean), abs=0.12)
    else:
        top1 = str(paper['Top 1 Accuracy'])
        assert top1 in comment
        assert f'| {top1.replace("+-", "±")} |' in row
    clips = re.fullmatch(r'(\d+) clips x (\d) crops|1 view', paper['Views'])
    assert views(config(stem)) == (
        tuple(map(int, clips.groups())) if clips[1] else (1, 1))


def test_readme_has_a_row_for_every_config() -> None:
    rows = re.findall(r'^\| \[(.*?)\]\(\1\.py\) \|(.*)', README,
                      re.MULTILINE)
    assert sorted(name for name, _ in rows) == NAMES
    for name, row in rows:
        trained_here = re.search(r'\| (\d+\.\d\d) \|', row)
        if trained_here:
            assert trained_here[1] == f'{trained(name) / 1e6:.2f}'
        assert row.endswith('| not trained |')


# Runs -----------------------------------------------------------------------


def scores(path: Path) -> torch.Tensor:
    return torch.stack([video['pred_score'] for video in load_pickle(path)])


def test_a_model_of_base_classes_is_tested_on_both_halves(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(write_tiny_config(
        'msta/vitb_base-novel_hmdb51.py', tmp_path,
        test_dataloader__dataset__pipeline__1__num_clips=2))
    # What is written has no variables left: put them back.
    path.write_text(path.read_text().replace(
        "'hmdb51_base'", "'hmdb51_{{$HALF:base}}'"))
    done = tool('train.py', str(path), '--work-dir', str(tmp_path / 'work'),
                '--synthetic', '2')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'loss_consistency' in done.stdout + done.stderr
    checkpoint = tmp_path / 'work' / 'epoch_1.pth'
    # One checkpoint for any classes: no feature or word of theirs is in it.
    state = read_checkpoint(checkpoint)['state_dict']
    assert {key.split('.')[0] for key in state} == {
        'adapter', 'backbone', 'text_encoder', 'cls_head'}
    assert [key for key in state if key.startswith('cls_head')] == [
        'cls_head.logit_scale']
    # A test reads no descriptions.
    for file in tmp_path.glob('*.json'):
        file.unlink()
    monkeypatch.chdir(tmp_path)
    done = tool('test_protocol.py', 'base-novel', '--data', str(path),
                str(checkpoint), '--synthetic', '26')
    assert done.returncode == 0, done.stderr[-3000:]
    saved = json.loads((tmp_path / 'work_dirs' / (
        'base-novel_vitb_base-novel_hmdb51') / 'base-novel.json').read_text())
    mean = saved['data_sets']['vitb_base-novel_hmdb51']['mean']
    assert mean.keys() == {'base', 'novel', 'harmonic_mean'}
    # Views in parts score as views at once.
    option, = re.findall(r'`(model.test_cfg.\S+)`', README)
    found = []
    for more in ([], [option]):
        out = tmp_path / f'{len(more)}.pkl'
        monkeypatch.setenv('HALF', 'novel')
        done = tool('test.py', str(path), str(checkpoint), '--synthetic',
                    '2', '--dump', str(out), '--work-dir',
                    str(tmp_path / 'work'), '--cfg-options', *more)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(scores(out))
    assert found[0].shape == (2, 25)
    torch.testing.assert_close(*found)


def test_a_checkpoint_of_kinetics_is_tested_on_another(
        tmp_path: Path) -> None:
    work = ('--work-dir', str(tmp_path / 'work'), '--synthetic', '2')
    done = tool('train.py', write_tiny_config('msta/vitb_k400.py', tmp_path),
                *work, '--cfg-options', 'model.consistency=None')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'loss_consistency' not in done.stdout + done.stderr
    done = tool('test.py', write_tiny_config(
        'msta/vitb_zeroshot_hmdb51.py', tmp_path),
        str(tmp_path / 'work' / 'epoch_1.pth'), *work,
        '--dump', str(tmp_path / 'scores.pkl'))
    assert done.returncode == 0, done.stderr[-3000:]
    assert scores(tmp_path / 'scores.pkl').shape == (2, 51)


def test_zero_shot_configs_have_nothing_to_train_with() -> None:
    for name in NAMES:
        if 'zeroshot' in name:
            assert splits(config(name)) == ['test']
