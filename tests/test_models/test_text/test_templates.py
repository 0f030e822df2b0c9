"""Templates: named sets, files, lists."""

import open_clip
import pytest

from mmvidadapt.models.text import TEMPLATES, prompt_templates


def test_mote_has_four_heads_times_seven_tails():
    found = prompt_templates('mote')
    assert len(found) == len(set(found)) == 28
    assert found[0] == 'a photo of {}.'
    assert 'a example of a person practicing {}.' in found
    assert prompt_templates('video') == ['a video of {}.']


def test_imagenet_templates_are_open_clips():
    assert len(TEMPLATES['imagenet']) == 80
    assert [template.replace('{}', 'tench')
            for template in prompt_templates('imagenet')] == [
                write('tench')
                for write in open_clip.OPENAI_IMAGENET_TEMPLATES]


def test_a_file_or_the_templates_themselves_will_do(tmp_path):
    path = tmp_path / 'templates.txt'
    path.write_text('a clip of {}.\nsomeone {}\n')
    for templates in (str(path), ['a clip of {}.', 'someone {}']):
        assert prompt_templates(templates) == ['a clip of {}.', 'someone {}']


@pytest.mark.parametrize('templates, message', [
    ('motte', "no set of templates 'motte': give one of mote, video, "
     'imagenet, a text file'),
    ([], 'is empty: give at least one'),
    (['a video of {}.', 'a video'], "template 'a video' holds 0 places {} "
     'for the name of the class: write exactly one'),
    (['{} or {}'], "'{} or {}' holds 2 places")])
def test_bad_templates_are_refused(templates, message):
    with pytest.raises(ValueError, match=message.replace('{', r'\{')):
        prompt_templates(templates)
