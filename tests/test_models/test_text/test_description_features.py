"""Features of descriptions: plain means of frozen, unnormalised features."""

from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn

from mmvidadapt.datasets import class_descriptions
from mmvidadapt.models.clip import CLIPTextEncoder
from mmvidadapt.models.text import (
    cache_folder,
    description_features,
    token_counts,
)
from tests.tiny_text import TEXT, reference, text

SENTENCES = [['A video about a hand that brushes hair.', 'Two hands.'],
             ['A video of running, which is a sub-step.'],
             ['Two hands.', 'A ball.', 'A racket that hits the ball.']]


def tower(model: nn.Module, **sizes: int) -> CLIPTextEncoder:
    """A tower with the weights of a model."""
    encoder = CLIPTextEncoder(dict(TEXT, **sizes), 'quick_gelu')
    state = {name: value for name, value in model.state_dict().items()
             if name in encoder.state_dict()}
    length = encoder.arch.context_length
    state['positional_embedding'] = state['positional_embedding'][:length]
    encoder.load_state_dict(state)
    return encoder


def test_features_are_plain_means_of_texts_as_they_stand(warnings):
    model = reference()
    expected = []
    for texts in SENTENCES:
        with torch.no_grad():
            features = model.encode_text(open_clip.tokenize(texts))
        expected.append(sum(features) / len(texts))
    found = description_features(SENTENCES, tower(model))
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5,
                               rtol=1e-5)
    assert found.dtype == torch.float32 and not found.requires_grad
    assert not warnings


def test_a_long_sentence_loses_its_end_but_not_the_end_token(warnings):
    short, long = 'A hand that brushes', 'A hand that brushes the hair.'
    model = reference()
    encoder = tower(model, context_length=6)
    assert token_counts([short, long]) == [6, 9]
    found = description_features([[long, 'A ball.'], [short]], encoder)
    expected = description_features([[short, 'A ball.']], tower(model))
    torch.testing.assert_close(found[:1], expected, atol=1e-5, rtol=1e-5)
    assert warnings == [
        '1 of 3 descriptions are longer than the 6 tokens that the text tower '
        'reads (the longest has 9): their ends are cut.']


@pytest.mark.parametrize('file, classes, cut, longest', [
    ('2_t_description_ssv2.json', 'sthv2', '95 of 348', 45),
    ('2_t_description_k400.json', 'k400', '3 of 800', 34),
    ('2_t_description_ucf_101.json', 'ucf101', None, 32),
    ('odd/8_s_description_k400.json', 'k400', '9 of 3193', 63)])
def test_published_files_in_the_context_of_viclip(
        file, classes, cut, longest, shared_data, warnings, monkeypatch):
    sentences = class_descriptions(
        shared_data / 'etl4video_descriptions' / file, classes)
    assert max(token_counts(sum(sentences, []))) == longest
    del warnings[:]
    tokens = []
    monkeypatch.setattr(
        CLIPTextEncoder, 'forward', lambda self, batch, stacks=():
        (tokens.append(batch), batch.new_zeros(len(batch), 24).float())[1])
    found = description_features(
        sentences, CLIPTextEncoder(dict(TEXT, context_length=32),
                                   'quick_gelu'))
    assert found.shape == (len(sentences), 24)
    assert all((batch.max(dim=1).values == 49407).all() for batch in tokens)
    assert bool(warnings) == bool(cut)
    assert not cut or warnings[0].startswith(f'{cut} descriptions')


# -- the cache -------------------------------------------------------------


@pytest.fixture
def loaded(tmp_path: Path) -> CLIPTextEncoder:
    """A tower from a file."""
    options = text(tmp_path)
    encoder = CLIPTextEncoder(options['arch'], options['act'],
                              options['weights'], frozen=True)
    encoder.init_weights()
    return encoder


def test_a_warm_start_calls_no_tower_and_reads_the_same(tmp_path, cold,
                                                        loaded):
    first = description_features(SENTENCES, loaded, tmp_path / 'own')
    assert cold == [6]
    assert torch.equal(first, description_features(SENTENCES, loaded,
                                                   tmp_path / 'own'))
    assert cold == [6]
    assert len(list(cache_folder(tmp_path / 'own').glob(
        '*.safetensors'))) == 1


@pytest.mark.parametrize('sentences', [
    SENTENCES[::-1],
    [SENTENCES[0] + SENTENCES[1], SENTENCES[2][:1], SENTENCES[2][1:]],
    [['a'], *SENTENCES[1:]]])
def test_other_sentences_are_other_features(tmp_path, cold, loaded,
                                            sentences):
    description_features(SENTENCES, loaded, tmp_path)
    description_features(sentences, loaded, tmp_path)
    assert len(cold) == 2


def test_other_values_are_other_features_whatever_the_weights_name(
        tmp_path, cold, loaded):
    description_features(SENTENCES, loaded, tmp_path)
    loaded.ln_final.bias.data[0] += 1
    description_features(SENTENCES, loaded, tmp_path)
    assert len(cold) == 2


@pytest.mark.parametrize('change', [
    dict(act='gelu'), dict(arch=dict(TEXT, context_length=20))])
def test_other_sizes_and_activations_are_other_features(
        tmp_path, cold, loaded, change):
    description_features(SENTENCES, loaded, tmp_path)
    options = text(tmp_path, **change)
    other = CLIPTextEncoder(options['arch'], options['act'],
                            options['weights'])
    other.init_weights()
    description_features(SENTENCES, other, tmp_path)
    assert len(cold) == 2


def test_a_random_tower_leaves_no_file(tmp_path, cold):
    encoder = tower(reference())
    for _ in range(2):
        description_features(SENTENCES, encoder, tmp_path / 'cache')
    assert len(cold) == 2
    assert not (tmp_path / 'cache').exists()


# -- bad input -------------------------------------------------------------


@pytest.mark.parametrize('sentences, message', [
    ([['a'], []], r'class 1 has \[\] in place of sentences: give a list of '
     'at least one sentence for each class'),
    (['a ball.'], "class 0 has 'a ball.' in place of sentences")])
def test_a_class_without_sentences_is_named(sentences, message):
    with pytest.raises(ValueError, match=message):
        description_features(sentences, tower(reference()))
