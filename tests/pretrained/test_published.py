"""Files of the reference say by their content which config they need."""

import pytest
import torch

from projects.oneformer.errors import InputError
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.pretrained.published import recognise
from tests.pipeline_steps import step_of
from tests.reference_layout import checkpoint_shapes

UNKNOWN = 'model_final.pth'


def weights(backbone, queries, classes):
    """Return tensors without memory, with the names of a published file."""
    return {
        name: torch.empty(shape, device='meta')
        for name, shape in checkpoint_shapes(
            backbone, queries, classes
        ).items()
    }


@pytest.mark.parametrize(
    ('backbone', 'queries', 'classes', 'scale', 'threshold'),
    [
        ('swin-l', 150, 133, (1333, 800), 0.8),
        ('swin-t', 150, 150, (2048, 512), 0.5),
        # Also trained from Mapillary Vistas, which changes no setting.
        ('convnext-xl', 250, 19, (2048, 1024), 0.8),
        ('r50', 150, 65, (2048, 2048), 0.8),
    ],
)
def test_shapes_give_backbone_data_set_and_thresholds(
    backbone, queries, classes, scale, threshold
):
    config = recognise(weights(backbone, queries, classes), UNKNOWN)
    assert config.model.panoptic_head.num_queries == queries
    assert len(config.model.metainfo.classes) == classes
    assert config.model.test_cfg.object_mask_thr == threshold
    pipeline = config.test_dataloader.dataset.pipeline
    assert step_of(pipeline, 'Resize').scale == scale


def test_the_kernel_of_dinat_is_seen():
    config = recognise(weights('dinat-l-k7', 250, 19), UNKNOWN)
    assert config.model.backbone.kernel_size == 7
    with pytest.raises(InputError, match='no config'):
        recognise(weights('dinat-l', 250, 19), UNKNOWN)


def test_test_sizes_are_not_in_the_weights_so_that_candidates_are_listed():
    with pytest.raises(InputError) as error:
        recognise(weights('swin-l', 250, 150), UNKNOWN)
    for name in ('', '-896', '-1280'):
        assert f'oneformer_swin-l_ade20k{name}' in str(error.value)
    assert "config='oneformer_swin-l_ade20k'" in str(error.value)


def test_the_published_name_of_a_file_decides_between_test_sizes():
    name = '896x896_250_16_swin_l_oneformer_ade20k_160k.pth'
    config = recognise(weights('swin-l', 250, 150), name)
    pipeline = config.test_dataloader.dataset.pipeline
    assert step_of(pipeline, 'Resize').scale == (3584, 896)


def test_other_weights_need_a_config():
    with pytest.raises(InputError, match=r'20 classes, which no config.*Give'):
        recognise(weights('swin-t', 150, 20), UNKNOWN)
    with pytest.raises(InputError, match='not the weights of a OneFormer'):
        recognise({'conv1.weight': torch.zeros(1)}, UNKNOWN)


def test_a_file_of_other_classes_is_of_no_data_set_of_the_paper():
    """Its classes are as many as those of Cityscapes by chance."""
    classes = [f'class {number}' for number in range(19)]
    with pytest.raises(InputError, match='19 classes, which no config'):
        recognise(weights('convnext-xl', 250, 19), UNKNOWN, classes)


@pytest.mark.slow
def test_a_file_of_the_reference_is_a_model(tmp_path):
    """Each tensor of the file has one element in memory."""
    file = tmp_path / 'anything.pth'
    shapes = checkpoint_shapes('r50', 150, 133)
    torch.save(
        dict(model={n: torch.ones(()).expand(s) for n, s in shapes.items()}),
        file,
    )
    assert file.stat().st_size < 1e6
    inferencer = OneFormerInferencer.from_pretrained(file, device='cpu')
    assert inferencer.dataset_meta['classes'][0] == 'person'
    assert len(inferencer.dataset_meta['thing_classes']) == 80
    bias = inferencer.model.panoptic_head.cls_embed.bias
    assert bias.eq(1).all()
