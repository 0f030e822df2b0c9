"""Evaluate with merged experts, and leave a merged checkpoint."""

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ...models.necks import MoTE, merge_state_dict, without_experts

__all__ = ['MergeExpertsHook']


@HOOKS.register_module()
class MergeExpertsHook(Hook):
    """Merge the experts of ``MoTE`` around validation and test.

    They are merged before the first clip and not again, also after weights
    were averaged (``EMAHook``). The parameters stay as they are, whatever
    happens during validation; training that goes on unmerges by itself.

    After training a checkpoint without experts is written beside the others:
    the same model with ``num_experts=0`` loads it, and it holds weights and
    the config that belongs to them, no optimizer. A neck that has
    ``num_experts=0`` already is left alone, and one that
    evaluates its experts apart is merged in that checkpoint only.

    Args:
        filename (str): Name of that checkpoint in the work directory.
    """

    # After EMAHook exchanged the weights, also in a checkpoint.
    priority = 'LOW'

    def __init__(self, filename: str = 'merged.pth') -> None:
        self.filename = filename
        self._saving = False

    def before_val_epoch(self, runner: Runner) -> None:
        """Merge.

        Args:
            runner (Runner): The runner.
        """
        for neck in self._necks(runner).values():
            if neck.aggregation == 'merge':
                neck.merge()

    def after_val_epoch(self, runner: Runner,
                        metrics: dict[str, float] | None = None) -> None:
        """Unmerge.

        Args:
            runner (Runner): The runner.
            metrics (dict[str, float] | None): What validation found.
        """
        for neck in self._necks(runner).values():
            neck.unmerge()

    before_test_epoch = before_val_epoch
    after_test_epoch = after_val_epoch

    def before_train(self, runner: Runner) -> None:
        """Find out now whether there is something to merge.

        Args:
            runner (Runner): The runner.
        """
        self._necks(runner)

    def after_train(self, runner: Runner) -> None:
        """Write the merged checkpoint.

        Args:
            runner (Runner): The runner.
        """
        if not self._necks(runner):
            return
        self._saving = True
        try:
            runner.save_checkpoint(
                runner.work_dir, self.filename, save_optimizer=False,
                save_param_scheduler=False,
                meta=dict(epoch=runner.epoch, iter=runner.iter))
        finally:
            self._saving = False

    def before_save_checkpoint(self, runner: Runner,
                               checkpoint: dict) -> None:
        """Merge what is about to be written, if it is the merged checkpoint.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint.
        """
        if not self._saving:
            return
        state = checkpoint['state_dict']
        for name, neck in self._necks(runner).items():
            own = {key: state.pop(key) for key in list(state)
                   if key.startswith(f'{name}.')}
            state.update(merge_state_dict(own, neck.merge_weights))
        checkpoint['meta']['cfg'] = without_experts(checkpoint['meta']['cfg'])
        for key in checkpoint.keys() - {'meta', 'state_dict'}:
            del checkpoint[key]

    @staticmethod
    def _necks(runner: Runner) -> dict[str, MoTE]:
        """The necks with experts, by name.

        Raises:
            ValueError: If the model has no ``MoTE`` at all.
        """
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        necks = {name: module for name, module in model.named_modules()
                 if isinstance(module, MoTE)}
        if not necks:
            raise ValueError(
                f'MergeExpertsHook finds no MoTE in {type(model).__name__}: '
                "add neck=dict(type='MoTE', ...), or remove the hook")
        return {name: neck for name, neck in necks.items()
                if neck.num_experts}
