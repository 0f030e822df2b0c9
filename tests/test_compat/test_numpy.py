"""Names that numpy 2 removed, for the modules that still call them."""

import ast
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

import mmvidadapt  # noqa: F401
from mmvidadapt.compat import numpy_names


def removed_names_in(package: str) -> dict[str, set[str]]:
    """Return the removed ``np.`` names by the module that uses them."""

    def is_removed(name: str) -> bool:
        return name in numpy_names.REMOVED or not hasattr(np, name)

    root = Path(importlib.import_module(package).__file__).parent
    found = {}
    for file in root.rglob('*.py'):
        if '.mim' in file.parts:  # scripts and configs, not modules
            continue
        source = file.read_text()
        if not any(map(is_removed, re.findall(r'\bnp\.(\w+)', source))):
            continue
        for node in ast.walk(ast.parse(source)):  # without the comments
            if (isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == 'np' and is_removed(node.attr)):
                name = '.'.join(file.relative_to(
                    root.parent).with_suffix('').parts)
                found.setdefault(name, set()).add(node.attr)
    return found


@pytest.mark.parametrize('package', ['mmaction', 'mmpretrain', 'mmengine'])
def test_table_names_every_use_of_a_removed_name(package):
    table = {
        name: set(uses)
        for name, uses in numpy_names.USERS.items()
        if name.startswith(package + '.')
    }
    assert removed_names_in(package) == table


@pytest.mark.parametrize('module', numpy_names.USERS)
def test_module_gets_the_proxy_if_numpy_lacks_its_names(module):
    seen = importlib.import_module(module).np
    assert isinstance(seen, numpy_names.NumpyProxy) == any(
        not hasattr(np, name) for name in numpy_names.USERS[module])
    for name in numpy_names.USERS[module]:
        assert getattr(seen, name) is not None


def test_numpy_itself_gets_no_new_name():
    for module in numpy_names.USERS:
        importlib.import_module(module)
    assert type(np) is ModuleType
    if np.lib.NumpyVersion(np.__version__) < '2.4.0':
        pytest.skip('this numpy still has some of the names')
    assert not any(name in vars(np) for name in numpy_names.REMOVED)


def test_proxy_answers_as_numpy_did():
    proxy = numpy_names.NumpyProxy()
    assert proxy.Inf == np.inf and np.isnan(proxy.NAN)
    assert proxy.trapz([1., 3.], [0., 2.]) == 4.
    flat = proxy.in1d([[1, 2], [3, 4]], [2, 3])
    assert flat.tolist() == [False, True, True, False]
    assert proxy.in1d([1, 2], [2], invert=True).tolist() == [True, False]


def test_proxy_passes_everything_else_through():
    proxy = numpy_names.NumpyProxy()
    assert proxy.ndarray is np.ndarray
    assert proxy.random.rand is np.random.rand
    assert set(dir(np)) <= set(dir(proxy))
    with pytest.raises(AttributeError, match='no_such_name'):
        _ = proxy.no_such_name


def test_nothing_is_replaced_where_numpy_has_the_names(monkeypatch):
    old = SimpleNamespace(**dict.fromkeys(numpy_names.REMOVED, 1))
    monkeypatch.setattr(numpy_names, 'numpy', old)
    assert not any(map(numpy_names.needed, numpy_names.USERS))
    assert numpy_names.NumpyProxy.__getattr__(None, 'in1d') == 1


def test_only_a_global_that_is_numpy_is_replaced(monkeypatch):
    module = ModuleType('module_with_its_own_np')
    module.np = own = object()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    numpy_names.mend(module.__name__)
    assert module.np is own


# -- MMAction2 runs ---------------------------------------------------------


def test_average_recall_of_proposals():
    from mmaction.evaluation import average_recall_at_avg_proposals
    truth = {'v': np.array([[0., 2.], [3., 5.]])}
    proposals = {'v': np.array([[0., 2., .9], [3., 5., .5]])}
    recall, average, count, area = average_recall_at_avg_proposals(
        truth, proposals, 2, max_avg_proposals=2)
    assert recall[:, -1].tolist() == [1.] * len(recall)
    # trapezoids: none, one, then two of the two segments found, by hand
    steps = np.diff(count)
    by_hand = (steps * (average[1:] + average[:-1]) / 2).sum()
    assert area == pytest.approx(100 * by_hand / count[-1])


def test_average_precision_of_nothing_is_nan():
    from mmaction.evaluation.functional.ava_evaluation import metrics
    assert np.isnan(metrics.compute_average_precision(None, None))


def test_retrieval_recall():
    from mmaction.evaluation.metrics import RetrievalRecall
    scores = torch.tensor([[.1, .9], [.2, .8]])
    recall, = RetrievalRecall.calculate(scores, [[1], [0]], topk=1,
                                        target_indices=True)
    assert recall == 50.


def test_retrieval_average_precision_of_mmpretrain():
    from mmpretrain.evaluation import RetrievalAveragePrecision
    precision = RetrievalAveragePrecision.calculate(
        [[0, 1]], [[1]], topk=2, pred_indices=True, target_indices=True)
    assert precision == pytest.approx(50.)


@pytest.mark.parametrize('name', ['PoseCompact', 'MMCompact'])
def test_compacting_poses(name):
    from mmaction.registry import TRANSFORMS
    points = np.array([[10., 20.], [30., 50.]])[None, None]
    results = dict(img_shape=(100, 100), keypoint=points,
                   keypoint_score=np.ones((1, 1, 2)), modality='Pose',
                   imgs=[np.zeros((100, 100, 3), np.uint8)])
    compact = TRANSFORMS.build(dict(type=name, padding=0., hw_ratio=None))
    results = compact(results)
    assert results['img_shape'] == (30, 20)
    assert results['keypoint'].squeeze().tolist() == [[0., 0.], [20., 30.]]


def test_extracting_frames_by_short_side(tmp_path):
    import cv2
    from mmaction.utils import frame_extract
    video = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'MJPG'), 5,
                             (64, 32))
    for _ in range(3):
        writer.write(np.zeros((32, 64, 3), np.uint8))
    writer.release()
    _, frames = frame_extract(str(video), 16, str(tmp_path / 'out'))
    assert [frame.shape for frame in frames] == [(16, 32, 3)] * 3
