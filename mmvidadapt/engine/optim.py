"""The optimizer sees what trains and nothing else."""

from types import SimpleNamespace

from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableParamsConstructor(DefaultOptimWrapperConstructor):
    """Build an optimizer over the parameters that require a gradient.

    Frozen parameters would cost the optimizer nothing in time, but weight
    decay of some optimizers and averaged or logged norms still touch them,
    and its state dict would list them. ``paramwise_cfg`` works as in
    MMEngine. Use it as ``optim_wrapper=dict(constructor=
    'TrainableParamsConstructor', ...)``.

    Raises:
        ValueError: On call, if nothing of the model trains.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a model.

        Args:
            model (nn.Module): The model, wrapped for distributed training or
                not.

        Returns:
            OptimWrapper: With an optimizer over the trained parameters.

        Raises:
            ValueError: If nothing of the model trains.
        """
        if is_model_wrapper(model):
            model = model.module
        params = list(model.parameters())
        trained = [param for param in params if param.requires_grad]
        if not trained:
            raise ValueError(
                f'nothing of {type(model).__name__} trains, all its '
                f'{len(params)} parameters are frozen: set frozen=False in '
                'the encoder, or add an adapter or a head')
        MMLogger.get_current_instance().info(
            f'Training {len(trained)} of {len(params)} parameters, '
            f'{sum(p.numel() for p in trained):,} of '
            f'{sum(p.numel() for p in params):,} values.')
        if self.paramwise_cfg:
            return super().__call__(model)
        # Without options the base class asks for parameters() and no more.
        return super().__call__(SimpleNamespace(parameters=lambda: trained))

    def add_params(self, params: list[dict], module: nn.Module,
                   prefix: str = '',
                   is_dcn_module: int | float | None = None) -> None:
        """Add the trained parameters of a module to the groups.

        Args:
            params (list[dict]): Parameter groups, extended in place.
            module (nn.Module): The module.
            prefix (str): Its name.
            is_dcn_module (int | float | None): As in the base class.
        """
        # Frozen modules are left out here, where the base class would warn
        # about every single parameter.
        if any(param.requires_grad for param in module.parameters()):
            super().add_params(params, module, prefix, is_dcn_module)
