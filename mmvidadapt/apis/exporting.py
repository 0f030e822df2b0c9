"""Models of ours as programs that run without us: ONNX and torch.export."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..models.clip.block import require_compiler
from ..models.folding import fold

#: Suffix of the files of each format.
FORMATS = dict(onnx='.onnx', torch_export='.pt2')
#: Largest difference to the scores of the model, as a share of the largest
#: score if that is above 1.
TOLERANCE = 1e-4
#: Bytes of weights that fit into one file of protocol buffers, with a reserve
#: for the graph.
ONNX_LIMIT = 2_000_000_000
_NEEDED = dict(onnx=('onnx', 'onnxscript', 'onnxruntime'), torch_export=())
_BATCHES = (3, 1)


class ClipScorer(nn.Module):
    """The part of a recognizer that an exported program is made of.

    Text towers stay behind: features of classes are computed here and kept.

    Args:
        model (nn.Module): A recognizer in eval mode.

    Shapes:
        - Input: ``(B, 3, T, H, W)``, normalised as ``data_preprocessor``
          does.
        - Output: ``(B, K)``, the scores of the head for each clip.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else None
        self.cls_head = model.cls_head
        adapter = getattr(model, 'adapter', None)
        if adapter is not None:  # of both towers; the backbone only hosts it
            self.visual, self.shared = adapter.visual, adapter.shared
        features = getattr(model, 'class_features', None)
        self.register_buffer('class_features', features and features())

    def forward(self, clips: Tensor) -> Tensor:
        """Score clips."""
        x = self.backbone(clips)
        if self.neck is not None:
            x, _ = self.neck(x)
        kept = self.class_features
        return self.cls_head(
            x, **({} if kept is None else dict(class_features=kept)))


class _Flat(nn.Module):
    """A module whose tensors have names without dots.

    ``torch.export`` writes a program with the names of modules as Python
    attributes, and InTI has a module that is called ``global``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._inner = (module, )  # a tuple, so not registered
        self._names = {}
        for name, value in [*module.named_parameters(),
                            *module.named_buffers()]:
            self._names[name] = name.replace('.', '__')
            self.register_buffer(self._names[name], value.detach())

    def forward(self, clips: Tensor) -> Tensor:
        tensors = {name: getattr(self, flat)
                   for name, flat in self._names.items()}
        return functional_call(self._inner[0], tensors, (clips, ))


class Exporter:
    """A recognizer on its way out of PyTorch.

    Args:
        model (nn.Module): On the CPU, in eval mode. It is folded in place
            (:func:`~mmvidadapt.models.folding.fold`) and of no other use
            from then on.
        shape (Sequence[int]): ``(3, T, H, W)`` of a clip.

    Raises:
        ValueError: If the model cannot be exported.
    """

    def __init__(self, model: nn.Module, shape: Sequence[int]) -> None:
        generator = torch.Generator().manual_seed(0)
        self.clips = torch.randn(_BATCHES[0], *shape, generator=generator)
        #: Scores of the model as it was, one clip at a time.
        self.scores = torch.cat([
            _scores(model, clip) for clip in self.clips.split(1)])
        #: How many of what were merged or folded.
        self.folded = fold(model)
        self._module = _Flat(ClipScorer(model)).eval()

    @torch.no_grad()
    def write(self, path: Path, form: str) -> float:
        """Write a program and compare what it computes with the model.

        Args:
            path (Path): The file.
            form (str): Key of :data:`FORMATS`.

        Returns:
            float: Largest difference between scores, over batches of several
            sizes.

        Raises:
            ValueError: If the difference is above :data:`TOLERANCE`, or the
                format cannot hold the model.
        """
        if form == 'onnx':
            self._check_size()
            torch.onnx.export(
                self._module, (self.clips[:2], ), str(path), dynamo=True,
                dynamic_shapes=({0: 'batch'}, ), input_names=['clips'],
                output_names=['scores'], external_data=False, verbose=False)
        else:
            torch.export.save(torch.export.export(
                self._module, (self.clips[:2], ), dynamic_shapes=(
                    {0: torch.export.Dim('batch')}, )), str(path))
        worst = 0.
        for size in _BATCHES:
            found = run_exported(path, self.clips[:size], form)
            worst = max(worst, float((found - self.scores[:size]).abs().max()))
        allowed = TOLERANCE * max(1., float(self.scores.abs().max()))
        if not worst <= allowed:
            raise ValueError(
                f'the scores of the exported model differ by {worst:.1e} '
                f'from those of PyTorch, {allowed:.1e} are allowed: try the '
                'other --format, and report the config')
        return worst

    def _check_size(self) -> None:
        size = sum(value.nbytes for value in self._module.buffers())
        if size > ONNX_LIMIT:
            raise ValueError(
                f'the model has {size / 1e9:.1f} GB of weights and an ONNX '
                'file holds 2 GB: use --format torch_export')


@torch.no_grad()
def _scores(model: nn.Module, clip: Tensor) -> Tensor:
    """``(1, K)`` of a clip ``(1, 3, T, H, W)``, by way of the recognizer."""
    x, kwargs = model.extract_feat(clip[:, None], test_mode=True)
    return model.cls_head(x, **kwargs)


def run_exported(path: Path, clips: Tensor, form: str) -> Tensor:
    """Run a written program on the CPU.

    Args:
        path (Path): The file.
        clips (Tensor): ``(B, 3, T, H, W)``, normalised.
        form (str): Key of :data:`FORMATS`.

    Returns:
        Tensor: Scores ``(B, K)``.
    """
    if form == 'torch_export':
        program: Any = torch.export.load(str(path)).module()
        return program(clips)
    import onnxruntime
    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider'])
    scores, = session.run(None, {'clips': clips.numpy()})
    return torch.from_numpy(scores)


def require(form: str) -> None:
    """Refuse a format whose packages are not installed.

    Args:
        form (str): Key of :data:`FORMATS`.

    Raises:
        ValueError: Naming the packages, or before torch 2.8.
    """
    require_compiler('an export')
    missing = [name for name in _NEEDED[form]
               if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f'--format {form} needs {" and ".join(missing)}: run pip install '
            "'.[export]'")
