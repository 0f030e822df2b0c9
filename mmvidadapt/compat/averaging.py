"""Average a model whose state dict is not all of it, or changes shape.

MMEngine's averages (``EMAHook`` and its models) take ``state_dict()`` for
the list of all tensors of a model. A module that leaves tensors out of its
checkpoints is asked for all of them here, wherever MMEngine reads them to
average, and for what belongs into a checkpoint everywhere else.

A buffer may get another shape while a model trains: the features of the
fine-tuning classes do when a checkpoint of other classes is fine-tuned.
MMEngine copies values into the shape that the average was made with; here
the average first takes over the shape. It takes over the values of buffers
that a module names in ``not_averaged``, which would be blended where a run is
resumed with others.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import SimpleNamespace
from typing import Any

_whole: ContextVar[bool] = ContextVar('whole_state_dicts', default=False)


@contextmanager
def whole_state_dicts() -> Iterator[None]:
    """Let every ``state_dict()`` hold all tensors, while this lasts."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


def whole_is_wanted() -> bool:
    """Return whether :func:`whole_state_dicts` is in force."""
    return _whole.get()


def needed() -> bool:
    """Return whether the hook misses what a state dict leaves out."""
    import torch
    from mmengine.hooks.ema_hook import EMAHook

    def leave_out(module: Any, state_dict: dict, *args: Any) -> None:
        if not whole_is_wanted():
            del state_dict['bias']

    hook = EMAHook(begin_iter=1)
    hook.src_model, averaged = (torch.nn.Linear(1, 1) for _ in range(2))
    hook.ema_model = SimpleNamespace(module=averaged)
    for module in (hook.src_model, averaged):
        module.register_state_dict_post_hook(leave_out)
    hook.after_train_iter(SimpleNamespace(iter=-1), 0)
    return not torch.equal(averaged.bias, hook.src_model.bias)


def mend() -> None:
    """Average all tensors, in the shapes that they have."""
    from mmengine.hooks.ema_hook import EMAHook
    from mmengine.model.averaged_model import BaseAveragedModel
    for cls, name, models in (
            (BaseAveragedModel, '__init__', None),
            (BaseAveragedModel, 'update_parameters',
             lambda average, model: (average, model)),
            (EMAHook, 'after_train_iter',
             lambda hook, *_, **__: (hook.ema_model, hook.src_model))):
        setattr(cls, name, _reading_all(getattr(cls, name), models))


def _take_over_buffers(average: Any, model: Any) -> None:
    """Give an average new buffers where those of the model changed shape,
    and the model's values of those that have no average.

    Args:
        average (BaseAveragedModel): The average.
        model (nn.Module): The model that it averages.
    """
    own = dict(average.module.named_buffers())
    for name, buffer in model.named_buffers():
        if name not in own:
            continue
        path, _, leaf = name.rpartition('.')
        owner = average.module.get_submodule(path)
        if own[name].shape != buffer.shape:
            setattr(owner, leaf,
                    buffer.detach().clone().to(own[name].device))
        elif leaf in getattr(owner, 'not_averaged', ()):
            own[name].copy_(buffer)
    if getattr(average, 'update_buffers', False):
        # By then loading may have exchanged buffers as well.
        average.avg_parameters = average.module.state_dict()


def _reading_all(method: Callable, models: Callable | None) -> Callable:
    """Wrap a method so that state dicts inside it are whole.

    Args:
        method (Callable): The method.
        models (Callable | None): Gets its arguments and gives the average
            and its model, whose buffers the average takes over first.

    Returns:
        Callable: In place of the method.
    """

    @wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with whole_state_dicts():
            if models is not None:
                _take_over_buffers(*models(*args, **kwargs))
            return method(*args, **kwargs)

    return wrapped
