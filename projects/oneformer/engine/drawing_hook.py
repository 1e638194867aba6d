"""Draw the results of a test run."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..images import read_image
from ..tasks import RESULT_FIELDS
from ..visualization import draw_result


@HOOKS.register_module()
class ResultDrawingHook(Hook):
    """Write a drawing for every test image and every task with a result.

    The files are named ``{image}_{id}_{task}.png``, so that two images with
    the same name do not overwrite each other; an id equal to the name is
    omitted.

    Args:
        out_dir (str): Folder of the drawings.
        score_thr (float): Instances with a lower score are not drawn.
        backend_args (dict, optional): File backend of mmengine, to read the
            images.
    """

    def __init__(
        self,
        out_dir: str,
        score_thr: float = 0.3,
        backend_args: dict | None = None,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.score_thr = score_thr
        self.backend_args = backend_args

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Draw the results of a batch."""
        meta = runner.test_evaluator.dataset_meta
        for sample in outputs:
            image = read_image(
                sample.img_path, backend_args=self.backend_args
            )[..., ::-1]  # RGB
            name = str(sample.img_id).replace('/', '_')
            stem = Path(sample.img_path).stem
            if name != stem:  # several folders have images of one name
                stem = f'{stem}_{name}'
            for task, field in RESULT_FIELDS.items():
                if field in sample:
                    drawing = draw_result(
                        image, sample, task, meta, self.score_thr
                    )
                    target = self.out_dir / f'{stem}_{task}.png'
                    mmcv.imwrite(drawing[..., ::-1], str(target))
