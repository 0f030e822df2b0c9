#!/usr/bin/env python
"""Test over the splits or seeds of a protocol, and average as papers do."""

import argparse
import gc
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dist import (
    broadcast_object_list,
    init_dist,
    is_distributed,
    is_main_process,
)

import mmvidadapt
from mmvidadapt.apis.cli import (
    add_run_options,
    build_runner,
    environment,
    make_parser,
    prepare_run,
    run_tool,
)
from mmvidadapt.evaluation import (
    base_to_novel,
    harmonic_mean,
    mean_and_std,
    trade_off,
)
from mmvidadapt.files import whole_file

EXAMPLE = """\
python tools/test_protocol.py zero-shot work_dirs/vitb_k400/epoch_30.pth \
--configs configs/mote/vitb_zeroshot_ucf101.py \
configs/mote/vitb_zeroshot_hmdb51.py configs/mote/vitb_zeroshot_k600.py \
--closed-set 81.8"""
#: What of a config does not change the result of a test.
_WHEREABOUTS = ('work_dir', 'experiment_name', 'launcher')
#: The accuracy that the papers average.
_TOP1 = 'top1'
_HALVES = ('base', 'novel')


class Test(NamedTuple):
    """One checkpoint, tested once.

    Args:
        name (str): Name of the config, with what chooses the split.
        config (str): Path of the config.
        checkpoint (str): Path of the checkpoint.
        chosen (dict[str, str]): Variables of the environment that the
            config is read with, such as ``SPLIT``.
    """

    name: str
    config: str
    checkpoint: str
    chosen: dict[str, str]


#: Accuracies of one test in percent, by name.
Accuracies = dict[str, float]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Test over the splits or seeds of a protocol; print and save means, '
        'standard\ndeviations and harmonic means.', EXAMPLE)
    protocols = parser.add_subparsers(required=True, metavar='PROTOCOL')
    zero = protocols.add_parser(
        'zero-shot', help='one checkpoint, on every split of each data set')
    zero.set_defaults(protocol='zero-shot', summarize=zero_shot)
    zero.add_argument('checkpoint', help='path of the checkpoint')
    zero.add_argument(
        '--configs', nargs='+', required=True, metavar='CONFIG',
        help='a config of each data set; SPLIT in the environment chooses '
        'its split')
    zero.add_argument(
        '--splits', type=int, nargs='+', default=[1, 2, 3], metavar='N',
        help='values of SPLIT (default: 1 2 3)')
    zero.add_argument(
        '--closed-set', metavar='CONFIG|PERCENT',
        help='adds the trade-off score: a config that tests the checkpoint '
        'on its training classes, or its known accuracy there, as in 81.8')
    novel = protocols.add_parser(
        'base-novel', help='one checkpoint for each seed, on base and on '
        'novel classes')
    novel.set_defaults(protocol='base-novel', summarize=base_novel)
    novel.add_argument(
        '--data', nargs='+', action='append', required=True,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a config and a checkpoint for each seed; HALF in the '
        'environment chooses its classes, base or novel. Once for each data '
        'set')
    novel.add_argument(
        '--seeds', type=int, nargs='+', metavar='S',
        help='values of SEED that the checkpoints were trained with '
        '(default: 1 2 3 ..., one for each checkpoint)')
    for protocol in (zero, novel):
        add_run_options(protocol, 'work_dirs/<protocol>_<name>, which is that '
                        'of checkpoint or config')
        protocol.add_argument(
            '--fresh', action='store_true',
            help='test again what an earlier call has finished')
        protocol.add_argument(
            '--traceback', action='store_true', default=argparse.SUPPRESS,
            help=argparse.SUPPRESS)
    return parser.parse_args()


# One test -------------------------------------------------------------------


def load(test: Test, args: argparse.Namespace) -> Config:
    """The config of a test.

    Args:
        test (Test): What to test.
        args (argparse.Namespace): The command line, with the ``work_dir`` of
            the whole protocol.

    Returns:
        Config: With a work folder and a log of its own.
    """
    with environment(test.chosen):
        cfg = prepare_run(argparse.Namespace(**{
            **vars(args), 'config': test.config,
            'work_dir': os.path.join(args.work_dir, test.name)}))
    cfg.load_from = test.checkpoint
    # Tests that start in one second would share a log.
    named = cfg.get('experiment_name')
    cfg.experiment_name = f'{named}_{test.name}' if named else test.name
    return cfg


def fingerprint(cfg: Config) -> str:
    """What tells a test from others whose result may differ.

    Args:
        cfg (Config): As from :func:`load`.

    Returns:
        str: A hash of the config, of the checkpoint, and of size and time
        of change of every file that the config names.
    """
    content = {key: value for key, value in cfg.to_dict().items()
               if key not in _WHEREABOUTS}
    stats = {path: os.stat(path) for path in _files(content)}
    described = json.dumps(
        [mmvidadapt.__version__, content,
         {path: (stat.st_size, stat.st_mtime_ns)
          for path, stat in stats.items()}], sort_keys=True, default=str)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _files(value: Any) -> Iterator[str]:
    """Every text of a config that is the path of a file."""
    if isinstance(value, dict):
        root = value.get('data_root')
        for part in value.values():
            yield from _files(part)
            if isinstance(root, str) and isinstance(part, str):
                yield from _files(os.path.join(root, part))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _files(part)
    elif isinstance(value, str) and value and os.path.isfile(value):
        yield value


def run(cfg: Config) -> Accuracies:
    """Test, as ``tools/test.py`` does.

    Args:
        cfg (Config): As from :func:`load`.

    Returns:
        Accuracies: In percent.

    Raises:
        ValueError: If the evaluators of the config report no top-1 accuracy.
    """
    metrics = build_runner(cfg).test()
    gc.collect()  # the model and the processes that read videos
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    found = {key.split('/', 1)[1]: 100 * float(value)
             for key, value in metrics.items() if key.startswith('acc/')}
    if _TOP1 not in found:
        raise ValueError(
            f'{cfg.filename} reports {", ".join(metrics) or "nothing"} and '
            'no acc/top1: give test_evaluator an AccMetric or a '
            'HalfClassMetric')
    return found


def read_result(path: Path) -> Accuracies | None:
    """The result of an earlier call.

    Args:
        path (Path): Where it would be.

    Returns:
        Accuracies | None: None if it is not there or not whole.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        return {str(name): float(value)
                for name, value in content['percent'].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError,
            AttributeError):
        return None


def say(text: str) -> None:
    """Print a line, in one of several processes."""
    if is_main_process():
        print(text, flush=True)


def write_json(path: Path, content: Any) -> None:
    """Write a file, in one of several processes."""
    if is_main_process():
        with whole_file(path) as partial:
            partial.write_text(json.dumps(content, indent=2) + '\n',
                               encoding='utf-8')


def run_all(tests: Sequence[Test], args: argparse.Namespace,
            variable: str, optional: bool) -> dict[str, Accuracies]:
    """Run the tests that no earlier call has finished.

    A result is written as soon as it is known, so that one that fails loses
    no other.

    Args:
        tests (Sequence[Test]): All of the protocol, of different names.
        args (argparse.Namespace): The command line.
        variable (str): What of the environment a config should read.
        optional (bool): Whether a config may do without; its tests, which
            then are the same, run once.

    Returns:
        dict[str, Accuracies]: Results by the name of the test, without those
        that are the same as another.

    Raises:
        ValueError: If a config lacks a variable that is not optional.
    """
    configs = [load(test, args) for test in tests]
    keys = [fingerprint(cfg) for cfg in configs]
    known = [(test.config, key) for test, key in zip(tests, keys, strict=True)]
    firsts = [known.index(pair) for pair in known]
    for number, first in enumerate(firsts):
        if first < number and not optional:
            raise ValueError(
                f'{tests[number].name} is the same test as '
                f'{tests[first].name}: give a config that reads {variable} '
                'from the environment')
    if args.launcher != 'none' and not is_distributed():
        init_dist(args.launcher, **configs[0].env_cfg.dist_cfg)
    files = [Path(cfg.work_dir) / f'result_{key}.json'
             for cfg, key in zip(configs, keys, strict=True)]
    # Processes must agree on what there is to do.
    finished = [None if args.fresh else read_result(file) for file in files]
    broadcast_object_list(finished)
    results: dict[str, Accuracies] = {}
    for number, (test, cfg, file, done) in enumerate(
            zip(tests, configs, files, finished, strict=True)):
        place = f'[{number + 1}/{len(tests)}] {test.name}'
        if firsts[number] < number:
            say(f'{place}: left out, {test.config} does not read {variable}')
            continue
        if done is None:
            say(f'{place}: testing {test.checkpoint}')
            done = run(cfg)
            write_json(file, dict(
                config=test.config, checkpoint=test.checkpoint,
                environment=test.chosen, percent=done))
            say(f'{place}: {_inline(done)}')
        else:
            say(f'{place}: {_inline(done)}, taken from {file}; --fresh tests '
                'it again')
        results[test.name] = done
    return results


def _inline(found: Accuracies) -> str:
    return ', '.join(f'{name} {value:.2f}' for name, value in found.items())


# Protocols ------------------------------------------------------------------


def averages(found: Sequence[Accuracies]) -> dict[str, Any]:
    """Mean and standard deviation of each accuracy over several tests.

    Args:
        found (Sequence[Accuracies]): One of each test, of the same names.

    Returns:
        dict[str, Any]: ``mean`` and ``std`` in percent, by name. Deviations
        over the halves of a test (``half_top1_std``) are left out.
    """
    both = {name: mean_and_std([test[name] for test in found])
            for name in found[0] if not name.endswith('_std')}
    return dict(mean={name: pair[0] for name, pair in both.items()},
                std={name: pair[1] for name, pair in both.items()})


def zero_shot(args: argparse.Namespace) -> tuple[dict[str, Any], list]:
    """One checkpoint on the splits of several data sets.

    Source: MoTE, Tables 3 and 4.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        tuple[dict[str, Any], list]: What is saved, and the rows of the
        table.
    """
    closed = args.closed_set
    known = _percent(closed)
    _check_names([*args.configs, *([] if known or not closed else [closed])])
    tests = {_stem(config): [
        Test(f'{_stem(config)}_split{split}', config, args.checkpoint,
             dict(SPLIT=str(split))) for split in dict.fromkeys(args.splits)]
        for config in args.configs}
    last = [] if closed is None or known is not None else [
        Test(_stem(closed), closed, args.checkpoint, {})]
    results = run_all([*sum(tests.values(), []), *last], args, 'SPLIT',
                      optional=True)
    saved: dict[str, Any] = dict(checkpoint=args.checkpoint, data_sets={})
    for stem, of_set in tests.items():
        found = {test.chosen['SPLIT']: results[test.name] for test in of_set
                 if test.name in results}
        saved['data_sets'][stem] = dict(
            splits=found, **averages([*found.values()]))
    summaries = saved['data_sets'].values()
    metrics = [*dict.fromkeys(
        name for summary in summaries for name in summary['mean'])]
    rows = [['percent', *metrics, f'{_TOP1} of each split']]
    for stem, summary in saved['data_sets'].items():
        splits = summary['splits'].values()
        rows.append([
            stem, *(_cell(summary['mean'].get(name),
                          summary['std'].get(name), len(splits))
                    for name in metrics),
            ' '.join(f'{one[_TOP1]:.2f}' for one in splits)])
    top1 = [summary['mean'][_TOP1] for summary in summaries]
    if len(top1) > 1:
        saved['hm_zs'] = harmonic_mean(top1)
        rows.append(['HM_ZS', f'{saved["hm_zs"]:.2f}'])
    if closed is not None:
        if last:
            known = results[last[0].name][_TOP1]
        assert known is not None
        saved['closed_set'] = known
        saved['trade_off'] = trade_off(known, top1)
        rows.append(['closed set', f'{known:.2f}'])
        rows.append(['trade-off', f'{saved["trade_off"]:.2f}'])
    return saved, rows


def _stem(config: str) -> str:
    return Path(config).stem


def _percent(text: str | None) -> float | None:
    """A known accuracy of the command line."""
    try:
        value = float(text or '')
    except ValueError:
        return None  # a config, or nothing
    if not 1 < value <= 100:
        raise ValueError(f'--closed-set {text} is no accuracy in percent: '
                         'give such as 81.8, or a config')
    return value


def _check_names(configs: Sequence[str]) -> None:
    """Refuse configs whose tests could not be told apart."""
    stems = [_stem(config) for config in configs]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ValueError(f'two configs are named {stem}: give each config '
                             'once, and files of different names')


def _cell(mean: float | None, deviation: float | None, number: int) -> str:
    """Mean and deviation of several tests as text."""
    if mean is None:
        return ''
    return f'{mean:.2f}' + (f' +- {deviation:.2f}' if number > 1 else '')


def base_novel(args: argparse.Namespace) -> tuple[dict[str, Any], list]:
    """One checkpoint for each seed, on base and on novel classes.

    Source: MSTA, Tables 2, 6 and 7.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        tuple[dict[str, Any], list]: What is saved, and the rows of the
        table.

    Raises:
        ValueError: If checkpoints and seeds do not belong together.
    """
    _check_names([config for config, *_ in args.data])
    tests: dict[str, list[Test]] = {}
    for config, *checkpoints in args.data:
        seeds = args.seeds or [*range(1, len(checkpoints) + 1)]
        given, wanted = len(set(checkpoints)), len(set(seeds))
        if not given == wanted == len(checkpoints) or not given:
            raise ValueError(
                f'{config} has {given} different checkpoints for {wanted} '
                'seeds: give a checkpoint for each seed')
        tests[_stem(config)] = [
            Test(f'{_stem(config)}_{half}_seed{seed}', config, checkpoint,
                 dict(HALF=half, SEED=str(seed)))
            for seed, checkpoint in zip(seeds, checkpoints, strict=True)
            for half in _HALVES]
    results = run_all(sum(tests.values(), []), args, 'HALF',
                      optional=False)
    saved: dict[str, Any] = dict(data_sets={})
    rows = [['percent', *_HALVES, 'HM', 'base and novel of each seed']]
    for stem, of_set in tests.items():
        base, novel = ([results[test.name][_TOP1] for test in of_set
                        if test.chosen['HALF'] == half] for half in _HALVES)
        outcome = base_to_novel(base, novel)
        deviations = mean_and_std(base)[1], mean_and_std(novel)[1]
        saved['data_sets'][stem] = dict(
            seeds={test.chosen['SEED']: dict(
                checkpoint=test.checkpoint, base=b, novel=n)
                for test, b, n in zip(of_set[::2], base, novel, strict=True)},
            mean=outcome._asdict(),
            std=dict(zip(_HALVES, deviations, strict=True)))
        rows.append([
            stem, *(_cell(mean, deviation, len(base)) for mean, deviation in
                    zip(outcome[:2], deviations, strict=True)),
            _cell(outcome.harmonic_mean, None, 1),
            '; '.join(f'{b:.2f} {n:.2f}'
                      for b, n in zip(base, novel, strict=True))])
    if len(tests) > 1:
        means = [of_set['mean'] for of_set in saved['data_sets'].values()]
        outcome = base_to_novel([mean['base'] for mean in means],
                                [mean['novel'] for mean in means])
        saved['mean'] = outcome._asdict()
        rows.append(['mean', *(f'{value:.2f}' for value in outcome)])
    return saved, rows


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text with columns.

    Args:
        rows (Sequence[Sequence[str]]): Cells; later rows may have fewer.

    Returns:
        str: One line for each row.
    """
    widths = [max(len(row[i]) for row in rows if i < len(row))
              for i in range(max(map(len, rows)))]
    return '\n'.join('  '.join(
        cell.ljust(width) for cell, width in zip(row, widths, strict=False)
    ).rstrip()
        for row in rows)


def default_folder(args: argparse.Namespace) -> str:
    """Where results go unless the command line says so.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        str: A folder of ``work_dirs``, named by checkpoint or config.
    """
    if args.protocol == 'zero-shot':
        checkpoint = Path(args.checkpoint).resolve()
        name = f'{checkpoint.parent.name}_{checkpoint.stem}'
    else:
        name = _stem(args.data[0][0])
    return os.path.join('work_dirs', f'{args.protocol}_{name}')


def main(args: argparse.Namespace) -> None:
    """Run the tests of a protocol and average their results."""
    args.work_dir = args.work_dir or default_folder(args)
    saved, rows = args.summarize(args)
    path = Path(args.work_dir) / f'{args.protocol}.json'
    write_json(path, dict(protocol=args.protocol, unit='percent', **saved))
    say(f'\n{table(rows)}\n\nwrote {path}')


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
