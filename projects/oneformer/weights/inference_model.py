"""What of a model config inference needs."""

from copy import deepcopy

from mmengine.config import ConfigDict


def inference_model(model: ConfigDict) -> ConfigDict:
    """Return the config of a model without what only training needs.

    That is the text branch, the losses and the initial weights.

    Args:
        model (ConfigDict): ``model`` of a config; it does not change.
    """
    model = deepcopy(model)
    model.train_cfg = None
    model.init_cfg = model.backbone.init_cfg = None
    return model
