#!/usr/bin/env python
"""Read mutated video files: a sentence or frames, and nothing else.

Small files of six formats are made, damaged in a way that a seed decides, and
read by ``VideoReader`` in a process of its own, which is watched. A file is
never kept; its format and number say which one it was.

usage: python tests/fuzz_videos.py [--rounds 500] [--seed 0]
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Seconds that one file may take before it counts as a hang.
PATIENCE = 20
#: MiB that the process may grow by after its first files.
GROWTH = 96
#: Files after which memory is taken as settled.
SETTLED = 60
SIZE = (48, 80)
FORMATS = {
    'H.264 in MP4': ('a.mp4', 'libx264', dict(options={
        'x264-params': 'keyint=6:min-keyint=6:bframes=2:open-gop=1'})),
    'HEVC in MKV': ('a.mkv', 'libx265', dict(options={
        'x265-params': 'keyint=6:log-level=none'})),
    'VP9 in WebM': ('a.webm', 'libvpx-vp9', dict(options={
        'g': '6', 'deadline': 'realtime', 'cpu-used': '8'})),
    'MPEG-4 in AVI': ('a.avi', 'mpeg4', dict(gop=6, bframes=2)),
    'H.264 in a transport stream': ('a.ts', 'libx264', dict(options={
        'x264-params': 'keyint=6:min-keyint=6:bframes=2'})),
    'MPEG-2 in a program stream': ('a.mpg', 'mpeg2video',
                                   dict(gop=6, bframes=2)),
}


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Damage a file: flipped bytes, a cut, or a part moved, lost or zero."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5))):
        start = draw.randrange(len(changed))
        length = min(len(changed) - start, draw.choice((1, 4, 64, 512)))
        part = slice(start, start + length)
        kind = draw.randrange(6)
        if kind <= 1:
            for place in range(start, start + min(length, 4)):
                changed[place] = draw.randrange(256)
        elif kind == 2:
            changed[part] = bytes(length)
        elif kind == 3:
            del changed[part]
        elif kind == 4:
            changed[part] = 2 * changed[part]
        else:
            del changed[max(32, start):]
        if not changed:
            break
    return bytes(changed)


def read_all(first: int, last: int, seed: int, folder: Path) -> None:
    """Read files ``first`` to ``last - 1``; a line of JSON for each."""
    from mmvidadapt.datasets import BrokenVideoError, VideoReader
    sources = [(folder / name).read_bytes()
               for name, _, _ in FORMATS.values()]
    target = folder / 'mutated.mp4'
    for number in range(first, last):
        draw = random.Random(f'{seed} {number}')
        data = mutate(sources[number % len(sources)], draw)
        print(json.dumps(dict(start=number)), flush=True)
        try:
            if number % 2:
                target.write_bytes(data)
            video = VideoReader(target if number % 2 else data,
                                max_seconds=PATIENCE / 2)
            total = video.total_frames
            video.read([draw.randrange(total) for _ in range(3)])
            outcome = 'frames'
        except BrokenVideoError as error:
            outcome = 'sentence'
            text = str(error)
            if '\n' in text or not text.endswith('.'):
                outcome = f'no sentence: {text!r}'
        except Exception as error:  # noqa: B902
            outcome = f'{type(error).__name__}: {error}'
        print(json.dumps(dict(
            number=number, outcome=outcome, memory=resident())), flush=True)


def resident() -> int:
    """MiB of memory that this process holds now."""
    pages = Path('/proc/self/statm').read_text().split()[1]
    return int(pages) * resource.getpagesize() >> 20


def watch(first: int, rounds: int, seed: int,
          folder: Path) -> tuple[list[dict], str]:
    """Outcomes of a process that reads, and what became of it."""
    lines: list[dict] = []
    with open(folder / 'said', 'w+') as said, subprocess.Popen(
            [sys.executable, '-W', 'ignore', __file__, '--child', str(folder),
             '--first', str(first), '--rounds', str(rounds), '--seed',
             str(seed)], stdout=subprocess.PIPE, stderr=said, text=True,
            bufsize=1, env=dict(os.environ, PYTHONPATH=str(ROOT))) as process:
        # The first line waits for imports, the others for one file each.
        patience = 120
        while True:
            timer = threading.Timer(patience, process.kill)
            timer.start()
            line = process.stdout.readline()
            late = not timer.is_alive()
            timer.cancel()
            if not line:
                break
            lines.append(json.loads(line))
            patience = PATIENCE
        status = process.wait()
        said.seek(0)
        console = [line for line in said.read().splitlines() if line.strip()
                   and 'MultiScaleDeformable' not in line]
    if late:
        return lines, 'hangs'
    if status:
        return lines, f'ended with {status}'
    return lines, f'wrote to the console: {console[0]}' if console else ''


def main() -> int:
    """Fuzz; 1 if anything but frames and sentences came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--rounds', type=int, default=500)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--first', type=int, default=0,
                        help='number of the first file')
    parser.add_argument('--child', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        read_all(args.first, args.rounds, args.seed, args.child)
        return 0
    from numbered_videos import write_numbered
    faults: list[str] = []
    outcomes: Counter[str] = Counter()
    settled = 0
    titles = list(FORMATS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, codec, options in FORMATS.values():
            write_numbered(folder / file, codec, 18, size=SIZE, **options)
        first = args.first
        while first < args.rounds:
            lines, fate = watch(first, args.rounds, args.seed, folder)
            done = [line for line in lines if 'number' in line]
            for line in done:
                title = titles[line['number'] % len(titles)]
                good = line['outcome'] in ('frames', 'sentence')
                outcomes[line['outcome'] if good else 'fault'] += 1
                if not good:
                    faults.append(f'file {line["number"]} ({title}): '
                                  f'{line["outcome"]}')
            if len(done) > SETTLED:
                settled = done[SETTLED]['memory']
                if done[-1]['memory'] > settled + GROWTH:
                    faults.append(f'memory grew from {settled} to '
                                  f'{done[-1]["memory"]} MiB')
            first = args.rounds
            if fate:
                starts = [line['start'] for line in lines if 'start' in line]
                number = starts[-1] if starts else -1
                faults.append(f'file {number} ({titles[number % 6]}) of seed '
                              f'{args.seed}: the process {fate}')
                if starts and not fate.startswith('wrote'):
                    first = number + 1
                    continue
    print(f'{sum(outcomes.values())} files: ' + ', '.join(
        f'{count} {what}' for what, count in sorted(outcomes.items())))
    print('\n'.join(faults) or 'no fault')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
