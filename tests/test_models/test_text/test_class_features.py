"""Class features: what they are, and what is never computed twice."""

import json
import multiprocessing
import os
import re
import time
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from mmvidadapt.models.clip import CLIPTextEncoder, text_arch
from mmvidadapt.models.text import (
    cache_folder,
    encode_classes,
    encode_texts,
    prompt_templates,
    tokenize,
)
from tests.tiny_text import NAMES, TEXT, reference, text

TEMPLATES = ['a video of {}.', 'a person {} in front of a camera.', '{}']


def only_file(folder: Path) -> Path:
    path, = cache_folder(folder / 'cache').glob('*.safetensors')
    return path


# -- what they are ---------------------------------------------------------


def test_features_are_the_normalised_mean_of_normalised_texts(tmp_path):
    model = reference()
    torch.save(model.state_dict(), tmp_path / 'clip.pt')
    found = encode_classes(NAMES, TEMPLATES, **text(tmp_path))
    written = ['brush hair', 'apply eye makeup', 'air drumming', 'tai chi',
               'surfing', 'yoyo', 'juggling']
    expected = []
    for name in written:
        tokens = open_clip.tokenize([t.format(name) for t in TEMPLATES])
        with torch.no_grad():
            features = F.normalize(model.encode_text(tokens), dim=-1)
        expected.append(F.normalize(features.mean(0), dim=-1))
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5,
                               rtol=1e-5)
    assert found.dtype == torch.float32 and not found.requires_grad


def test_batches_of_like_length_keep_the_order_of_the_texts(monkeypatch):
    from mmvidadapt.models.text import encode
    texts = ['surfing the big wave in the early morning', 'tai chi', 'a', 'b',
             'riding a bike']
    encoder = CLIPTextEncoder(TEXT, 'quick_gelu', frozen=True).eval()
    tokens = tokenize(texts, encoder.arch)
    lengths: list[int] = []
    monkeypatch.setattr(encode, '_BATCH_SIZE', 2)
    encoder.register_forward_pre_hook(
        lambda module, args: lengths.append(int(args[0].argmax(1).max())))
    found = encode_texts(encoder, tokens)
    assert lengths == [2, 4, 9]
    for row, feature in zip(tokens, found):
        torch.testing.assert_close(feature, encoder(row[None])[0], atol=1e-5,
                                   rtol=1e-5)


def test_encoding_ignores_autocast_and_draws_no_random_number(
        tmp_path, monkeypatch):
    plain = encode_classes(NAMES, TEMPLATES, **text(tmp_path))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    # Nor does it reset the generators of other devices.
    monkeypatch.setattr(torch.cuda, 'manual_seed_all',
                        lambda seed: pytest.fail('GPUs are seeded'))
    with torch.autocast('cpu', torch.bfloat16):
        other = encode_classes(
            NAMES, TEMPLATES, **text(tmp_path, cache_dir=tmp_path / 'other'))
    assert torch.equal(plain, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_random_tower_warns_and_is_the_same_in_every_process(
        tmp_path, warnings):
    options = text(tmp_path, weights=None)
    first = encode_classes(NAMES, TEMPLATES, **options)
    torch.manual_seed(1)
    assert torch.equal(first, encode_classes(NAMES, TEMPLATES, **options))
    assert 'weights=None, so its class features are random' in warnings[0]
    assert not (tmp_path / 'cache').exists()


# -- the cache -------------------------------------------------------------


def test_a_warm_start_calls_no_encoder_and_takes_below_a_second(
        tmp_path, monkeypatch):
    options = text(tmp_path)
    templates = prompt_templates('mote')
    names = [f'class {i}' for i in range(400)]
    monkeypatch.setattr(
        CLIPTextEncoder, 'forward',
        lambda self, tokens, stacks=(): torch.randn(len(tokens), 24))
    first = encode_classes(names, templates, **options)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError('the text tower is built or called')

    for name in ('__init__', 'forward'):
        monkeypatch.setattr(CLIPTextEncoder, name, refuse)
    start = time.perf_counter()
    second = encode_classes(names, templates, **options)
    assert time.perf_counter() - start < 1
    assert torch.equal(first, second)


def test_anything_that_changes_the_features_is_part_of_the_key(
        tmp_path, cold, monkeypatch):
    def encoded(names=NAMES, templates=TEMPLATES, **changes) -> bool:
        del cold[:]
        encode_classes(names, templates, **text(tmp_path, **changes))
        return bool(cold)

    assert encoded()
    assert not encoded()
    assert not encoded(names=['brush hair', *NAMES[1:]]), 'the same texts'
    assert encoded(names=NAMES[::-1])
    assert encoded(templates=TEMPLATES[:1])
    assert encoded(act='gelu')
    assert encoded(arch=dict(TEXT, context_length=20))
    monkeypatch.setattr(open_clip, '__version__', '0')
    assert encoded()
    assert not encoded()


def test_new_weights_in_an_old_file_are_noticed(tmp_path, cold):
    options = text(tmp_path)
    first = encode_classes(NAMES, TEMPLATES, **options)
    torch.manual_seed(1)
    torch.save(reference().state_dict(), options['weights'])
    second = encode_classes(NAMES, TEMPLATES, **options)
    assert len(cold) == 2
    assert not torch.allclose(first, second, atol=1e-2)


def test_a_tag_needs_no_file_on_a_warm_start(tmp_path, monkeypatch):
    from open_clip import pretrained
    options = text(tmp_path)
    path, asked = options['weights'], []

    def download(config: dict) -> str:
        asked.append(config)
        return path

    monkeypatch.setattr(pretrained, 'download_pretrained', download)
    options.update(arch=dict(name='ViT-B-16', **TEXT), weights='openai')
    first = encode_classes(NAMES, TEMPLATES, **options)
    os.remove(path)
    assert torch.equal(first, encode_classes(NAMES, TEMPLATES, **options))
    assert len(asked) == 1


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _describe_others(path: Path) -> None:
    with safe_open(path, 'pt') as file:
        tensor, meta = file.get_tensor('features'), file.metadata()
    description = json.loads(meta['description'])
    description['names'][0] = 'other'
    meta['description'] = json.dumps(description, sort_keys=True)
    save_file(dict(features=tensor), path, meta)


@pytest.mark.parametrize('spoil, fault', [
    (_shorten, r'cannot be read \(.*truncated or damaged'),
    (lambda path: path.write_bytes(b''), r'cannot be read \('),
    (lambda path: save_file(dict(other=torch.zeros(1)), path),
     r"cannot be read \('features'\)"),
    (_flip_a_bit, 'is damaged'),
    (_describe_others, 'describes other features')])
def test_a_spoiled_file_is_named_and_replaced(
        tmp_path, cold, warnings, spoil, fault):
    first = encode_classes(NAMES, TEMPLATES, **text(tmp_path))
    path = only_file(tmp_path)
    spoil(path)
    assert torch.equal(
        first, encode_classes(NAMES, TEMPLATES, **text(tmp_path)))
    assert len(cold) == 2
    assert re.match(f'The cached class features {path} are not used, because '
                    f'the file {fault}.*: they are computed anew',
                    warnings[0])
    del warnings[:]
    encode_classes(NAMES, TEMPLATES, **text(tmp_path))
    assert len(cold) == 2 and not warnings


def test_a_cache_that_cannot_be_written_is_an_error_before_the_encoding(
        tmp_path, cold):
    (tmp_path / 'cache').write_text('a file, no folder')
    with pytest.raises(OSError, match='class features cannot be cached in .*'
                       'cache/class_features .*: set cache_dir of text, or '
                       'MMVIDADAPT_CACHE, to a folder that can be written'):
        encode_classes(NAMES, TEMPLATES, **text(tmp_path))
    assert not cold


def test_the_cache_is_where_option_variable_or_home_say(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    monkeypatch.delenv('MMVIDADAPT_CACHE', raising=False)
    assert str(cache_folder()) == (
        '/home/me/.cache/mmvidadapt/class_features')
    monkeypatch.setenv('MMVIDADAPT_CACHE', '/large')
    assert str(cache_folder()) == '/large/class_features'
    assert str(cache_folder('~/here')) == '/home/me/here/class_features'


def _encode_and_count(options: dict, folder: str) -> None:
    """Run in a process of its own."""
    forward = CLIPTextEncoder.forward

    def slow(self, tokens, stacks=()):
        Path(folder, f'{os.getpid()}.called').touch()
        time.sleep(0.5)
        return forward(self, tokens, stacks)

    CLIPTextEncoder.forward = slow
    torch.save(encode_classes(NAMES, TEMPLATES, **options),
               Path(folder, f'{os.getpid()}.pt'))


def test_one_process_encodes_and_the_others_read(tmp_path):
    options = text(tmp_path)
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=_encode_and_count,
                                 args=(options, str(tmp_path)))
                 for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    results = [torch.load(tmp_path / f'{process.pid}.pt', weights_only=True)
               for process in processes]
    assert all(torch.equal(result, results[0]) for result in results)
    assert len(list(tmp_path.glob('*.called'))) == 1
    assert {path.suffix for path in only_file(tmp_path).parent.iterdir()} == {
        '.safetensors', '.lock'}


# -- bad input -------------------------------------------------------------


def test_a_name_over_the_context_is_named(tmp_path):
    name = 'running ' * 80
    with pytest.raises(ValueError, match=r"the text 'a video of (running )+"
                       r"running\.' has 86 tokens and the text tower reads "
                       '77: shorten the name of the class or the template'):
        encode_classes([name], TEMPLATES[:1], **text(tmp_path))


def test_a_text_that_just_fits_is_not_refused():
    arch = text_arch(dict(TEXT, context_length=6))
    tokens = tokenize(['a video of surfing'], arch)
    assert tokens.shape == (1, 6) and tokens[0, 5] == 49407
    with pytest.raises(ValueError, match='has 7 tokens and the text tower '
                       'reads 6'):
        tokenize(['a', 'a video of surfing.'], arch)


def test_a_vocabulary_that_is_not_clips_is_refused():
    with pytest.raises(ValueError, match="knows 60 tokens and CLIP's "
                       'tokenizer has 49408: set vocab_size=49408'):
        tokenize(['a'], text_arch(dict(TEXT, vocab_size=60)))
