"""Label the images of a CVAT task: an auto-annotation function.

Example: cvat-cli --server-host https://app.cvat.ai task auto-annotate 123 \\
             --function-file examples/cvat/oneformer_function.py \\
             -p config=str:configs/oneformer_swin-l_coco.py \\
             -p weights=str:model.pth -p classes=str:person,car
"""

from cvat_sdk import auto_annotation
from PIL import Image

from projects.oneformer.inferencer import OneFormerInferencer


class OneFormerFunction:
    """What CVAT calls for every image.

    Args:
        config (str): Config of the model.
        weights (str): Checkpoint.
        task (str): 'panoptic', 'instance' or 'semantic'.
        classes (str): Classes to label, separated by commas; '' labels all.
            CVAT matches them with the labels of its task by name.
        device (str): 'cpu', 'cuda', ...; '' takes a GPU if there is one.
    """

    def __init__(
        self,
        config: str,
        weights: str,
        task: str = 'panoptic',
        classes: str = '',
        device: str = '',
    ) -> None:
        self.inferencer = OneFormerInferencer(config, weights, device or None)
        self.task = task
        names = list(self.inferencer.dataset_meta['classes'])
        self.classes = classes.split(',') if classes else names
        if unknown := set(self.classes) - set(names):
            raise ValueError(
                f'Unknown classes {sorted(unknown)}: the model has {names}.'
            )
        # CVAT turns the type to polygon where it asks for polygons.
        self.spec = auto_annotation.DetectionFunctionSpec(
            labels=[
                auto_annotation.label_spec(
                    name, names.index(name), type='mask'
                )
                for name in self.classes
            ]
        )

    def detect(
        self,
        context: auto_annotation.DetectionFunctionContext,
        image: Image.Image,
    ) -> list:
        """Return the shapes of an image.

        Without a threshold of CVAT, instances need a score of 0.3.
        """
        threshold = context.conf_threshold
        (result,) = self.inferencer(
            image, self.task, score_thr=0.3 if threshold is None else threshold
        )
        return result.to_cvat(
            classes=self.classes,
            polygons=context.conv_mask_to_poly,
            score_thr=threshold or 0.0,
        )


create = OneFormerFunction
