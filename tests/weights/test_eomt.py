"""Weights of EoMT: authors' files, transformers folders, plain ViTs."""

import pytest
import timm
import torch
from mmengine.config import Config
from timm.layers import resample_abs_pos_embed
from timm.layers import resample_patch_embed as timm_patch_embed
from torch import nn

from projects.oneformer.weights import to_native
from projects.oneformer.weights.eomt import (
    add_differences,
    from_authors,
    from_transformers_eomt,
    to_transformers_eomt,
)
from projects.oneformer.weights.huggingface_folder import (
    save_huggingface_folder,
)
from projects.oneformer.weights.pretrained_vit import load_vit
from projects.oneformer.weights.reader import load_weights
from projects.oneformer.weights.resampling import (
    resample_by_products,
    resample_patches,
    resample_positions,
)
from projects.oneformer.weights.vit import to_whole_vit
from tests.eomt_oracle import SIZE, make_pair, oracle_config
from tests.model_configs import (
    WIDTH,
    build_model,
    images,
    randomise,
    tiny_eomt,
)

# The same operators in another order, float32.
TOLERANCE = dict(atol=2e-4, rtol=1e-4)


def authors_names(state_dict: dict) -> dict:
    """Rename the entries of transformers as files of tue-mps have them."""
    renamed = {}
    qkv: dict = {}
    for name, value in state_dict.items():
        if '.attention.' in name and '_proj.' in name and 'out' not in name:
            block, part = name.split('.attention.')
            qkv.setdefault((block, part.split('.')[1]), {})[part[0]] = value
            continue
        for old, new in (
            ('embeddings.cls_token', 'encoder.backbone.cls_token'),
            ('embeddings.register_tokens', 'encoder.backbone.reg_token'),
            (
                'embeddings.position_embeddings.weight',
                'encoder.backbone.pos_embed',
            ),
            (
                'embeddings.patch_embeddings.projection',
                'encoder.backbone.patch_embed.proj',
            ),
            ('layers.', 'encoder.backbone.blocks.'),
            ('layernorm.', 'encoder.backbone.norm.'),
            ('attention.out_proj', 'attn.proj'),
            ('layer_scale1.lambda1', 'ls1.gamma'),
            ('layer_scale2.lambda1', 'ls2.gamma'),
            ('query.', 'q.'),
            ('class_predictor', 'class_head'),
            ('upscale_block.block', 'upscale'),
            ('layernorm2d', 'norm'),
            ('fc1', '0') if name.startswith('mask_head') else ('', ''),
            ('fc2', '2') if name.startswith('mask_head') else ('', ''),
            ('fc3', '4') if name.startswith('mask_head') else ('', ''),
        ):
            if old:
                name = name.replace(old, new)
        if name.endswith('pos_embed'):
            value = value[None]
        prefix = '' if name.startswith('criterion') else 'network.'
        renamed[prefix + name] = value
    for (block, kind), parts in qkv.items():
        block = block.replace('layers', 'network.encoder.backbone.blocks')
        renamed[f'{block}.attn.qkv.{kind}'] = torch.cat(
            [parts[part] for part in 'qkv']
        )
    renamed['network.encoder.pixel_mean'] = torch.zeros(1, 3, 1, 1)
    return renamed


@pytest.fixture(scope='module')
def pair():
    return make_pair((1.0, 0.0))


def assert_same(found: dict, expected: dict) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].equal(value), name


def test_weights_go_to_transformers_and_back(pair):
    theirs = pair.oracle.state_dict()
    assert_same(to_native(theirs), pair.ours.state_dict())
    back = to_transformers_eomt(from_transformers_eomt(theirs))
    assert_same(back, theirs)


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_file_of_the_authors_loads(pair, wrapped, tmp_path):
    content = authors_names(pair.oracle.state_dict())
    path = tmp_path / 'pytorch_model.bin'
    torch.save(dict(state_dict=content) if wrapped else content, path)
    model = build_model(tiny_eomt(training=False), seed=1)
    load_weights(model, str(path))
    assert_same(dict(model.state_dict()), dict(pair.ours.state_dict()))


@torch.no_grad()
def test_transformers_loads_the_folder_with_equal_logits(tmp_path):
    from transformers import EomtForUniversalSegmentation, EomtImageProcessor

    pair = make_pair((0.0, 0.0))
    config = Config(dict(model=tiny_eomt(training=False)))
    folder = tmp_path / 'folder'
    save_huggingface_folder(config, pair.ours.state_dict(), folder)
    theirs, report = EomtForUniversalSegmentation.from_pretrained(
        folder, output_loading_info=True, attn_implementation='sdpa'
    )
    assert not any(report.values()), report
    pictures = images(1, SIZE, SIZE)
    found = theirs.eval()(pictures)
    cls_scores, mask_preds = pair.ours(pictures, mode='tensor')
    torch.testing.assert_close(
        cls_scores[-1], found.class_queries_logits, **TOLERANCE
    )
    torch.testing.assert_close(
        mask_preds[-1], found.masks_queries_logits, **TOLERANCE
    )
    processor = EomtImageProcessor.from_pretrained(folder)
    assert processor.size == dict(shortest_edge=SIZE, longest_edge=SIZE)
    assert theirs.config.id2label[1] == 'cat'
    # And ours loads what it wrote.
    model = build_model(tiny_eomt(training=False), seed=1)
    load_weights(model, str(folder))
    assert_same(dict(model.state_dict()), dict(pair.ours.state_dict()))


def test_a_swiglu_goes_to_transformers_and_back():
    from transformers import EomtForUniversalSegmentation

    cfg = tiny_eomt(training=False)
    for part in (cfg.backbone, cfg.panoptic_head):
        part.block.gated = True
        part.block.feedforward_channels = 64
    ours = build_model(cfg)
    config = oracle_config(use_swiglu_ffn=True)
    config.mlp_ratio = 1.5
    theirs = EomtForUniversalSegmentation(config).eval()
    theirs.load_state_dict(to_transformers_eomt(ours.state_dict()))
    assert_same(to_native(theirs.state_dict()), ours.state_dict())
    with torch.no_grad():
        pictures = images(1, SIZE, SIZE)
        theirs.attn_mask_probs.zero_()
        torch.testing.assert_close(
            ours(pictures, mode='tensor')[0][-1],
            theirs(pictures).class_queries_logits,
            **TOLERANCE,
        )


def test_what_transformers_does_not_have_is_not_written(tmp_path):
    for cfg, message in (
        (tiny_eomt(training=False, conditioned=True), 'no task token'),
        (tiny_eomt(training=False, rotary=True), 'DINOv3'),
    ):
        model = build_model(cfg)
        folder = tmp_path / 'folder'
        with pytest.raises(ValueError, match=message):
            save_huggingface_folder(
                Config(dict(model=cfg)), model.state_dict(), folder
            )
        assert not folder.exists()


def timm_vit(kind: str, side: int = 56) -> nn.Module:
    """Return a tiny ViT of timm."""
    options = dict(
        embed_dim=WIDTH, depth=4, num_heads=4, mlp_ratio=1.5, num_classes=0
    )
    if kind == 'dinov3':
        vit = timm.create_model('vit_small_patch16_dinov3', **options)
    else:
        name = 'vit_small_patch14_reg4_dinov2'
        vit = timm.create_model(name, img_size=side, **options)
    torch.manual_seed(0)
    randomise(vit)
    return vit.eval()


@torch.no_grad()
@pytest.mark.parametrize('size', [(64, 64), (64, 96)])
def test_dinov3_of_timm_gives_its_features(size):
    theirs = timm_vit('dinov3')
    ours = build_model(tiny_eomt(training=False, rotary=True), seed=1)
    load_vit(ours, theirs.state_dict(), 'vit.pth')
    pictures = images(1, *size)
    pixels = ours.extract_feat(pictures)
    x = pixels.tokens
    for block in ours.panoptic_head.blocks:
        x = block(x, pixels.rotation)
    x = ours.panoptic_head.norm(x)
    torch.testing.assert_close(
        x, theirs.forward_features(pictures), **TOLERANCE
    )


@torch.no_grad()
def test_dinov2_of_timm_gives_its_features_at_other_patches_and_sizes():
    theirs = timm_vit('dinov2')
    ours = build_model(tiny_eomt(training=False), seed=1)
    load_vit(ours, theirs.state_dict(), 'vit.pth')
    # timm's own resampling, from 14 to 16 pixels.
    changed = timm.create_model(
        'vit_small_patch14_reg4_dinov2',
        embed_dim=WIDTH,
        depth=4,
        num_heads=4,
        mlp_ratio=1.5,
        num_classes=0,
        img_size=SIZE,
        patch_size=16,
    ).eval()
    weights = dict(theirs.state_dict())
    weights['patch_embed.proj.weight'] = timm_patch_embed(
        weights['patch_embed.proj.weight'], [16, 16]
    )
    changed.load_state_dict(weights)
    pictures = images(1, SIZE, SIZE)
    pixels = ours.extract_feat(pictures)
    x = pixels.tokens
    for block in ours.panoptic_head.blocks:
        x = block(x)
    x = ours.panoptic_head.norm(x)
    torch.testing.assert_close(
        x, changed.forward_features(pictures), **TOLERANCE
    )


def test_positions_and_patches_are_resampled_as_timm_does():
    torch.manual_seed(0)
    positions = torch.randn(1, 37 * 37, 8)
    torch.testing.assert_close(
        resample_positions(positions, (40, 30)),
        resample_abs_pos_embed(positions, [40, 30], num_prefix_tokens=0),
    )
    patches = torch.randn(8, 3, 14, 14)
    torch.testing.assert_close(
        resample_patches(patches, 16),
        timm_patch_embed(patches, [16, 16]),
        # A pseudo-inverse in another precision.
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize('size', [(7, 7), (3, 11), (20, 5), (1, 1)])
def test_positions_of_exported_files_are_resampled_as_by_pytorch(size):
    torch.manual_seed(0)
    positions = torch.randn(1, 49, 8)
    torch.testing.assert_close(
        resample_by_products(positions, size),
        resample_positions(positions, size),
        # Sums of other products, of values up to 4.
        atol=5e-6,
        rtol=0,
    )


def test_dinov2_of_transformers_and_its_class_position_load():
    from transformers import (
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    theirs = Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(
            hidden_size=WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            mlp_ratio=1.5,
            image_size=SIZE,
            patch_size=16,
        )
    ).eval()
    torch.manual_seed(0)
    randomise(theirs)
    ours = build_model(tiny_eomt(training=False), seed=1)
    load_vit(ours, theirs.state_dict(), 'folder')
    with torch.no_grad():
        pictures = images(1, SIZE, SIZE)
        x = ours.extract_feat(pictures).tokens
        for block in ours.panoptic_head.blocks:
            x = block(x)
        x = ours.panoptic_head.norm(x)
        expected = theirs(pictures).last_hidden_state
    torch.testing.assert_close(x, expected, **TOLERANCE)


def test_registers_are_an_option_and_another_vit_is_refused():
    weights = dict(timm_vit('dinov2').state_dict())
    del weights['reg_token']
    cfg = tiny_eomt(training=False)
    model = build_model(cfg)
    before = model.backbone.cls_token.clone()
    with pytest.raises(ValueError, match='num_registers .* file, 0'):
        load_vit(model, weights, 'vit.pth')
    assert model.backbone.cls_token.equal(before)
    cfg.backbone.num_registers = 0
    load_vit(build_model(cfg), weights, 'vit.pth')
    with pytest.raises(ValueError, match='2 left over|missing|left over'):
        load_vit(build_model(tiny_eomt(rotary=True)), weights, 'vit.pth')
    with pytest.raises(ValueError, match='no Vision Transformer'):
        to_whole_vit({'layer1.conv.weight': torch.zeros(1)}, 'resnet.pth')


def test_init_weights_load_the_vit_into_backbone_and_head(tmp_path):
    theirs = timm_vit('dinov2', 14 * 4)
    path = tmp_path / 'vit.pth'
    torch.save(theirs.state_dict(), path)
    cfg = tiny_eomt()
    cfg.init_cfg = dict(type='PretrainedViT', checkpoint=str(path))
    model = build_model(cfg)
    model.init_weights()
    weight = theirs.state_dict()['blocks.3.mlp.fc2.weight']
    assert model.panoptic_head.blocks[1].ffn.fc2.weight.equal(weight)
    weight = theirs.state_dict()['blocks.1.mlp.fc2.weight']
    assert model.backbone.blocks[1].ffn.fc2.weight.equal(weight)


def dinov3_file(base: dict) -> dict:
    """Return the differences of a trained model to ``base``, and its head."""
    file = {}
    for name, value in base.items():
        name = name.replace('layer.', 'blocks.')
        name = name.replace('embeddings.', 'patch_embed.', 1)
        file[f'network.encoder.backbone.{name}'] = torch.full_like(value, 0.01)
    head = to_transformers_eomt(
        build_model(tiny_eomt(training=False)).state_dict()
    )
    for name, value in authors_names(head).items():
        if not name.startswith('network.encoder.backbone.'):
            file[name] = value
    return file


def test_differences_to_dinov3_are_added_to_its_weights():
    from tests.eomt_oracle import dinov3_pair

    theirs, expected = dinov3_pair()
    base = theirs.state_dict()
    file = dinov3_file(base)
    with pytest.raises(ValueError, match='differences .*add_dinov3.py'):
        from_authors(file)
    converted = add_differences(file, to_whole_vit(base, 'dinov3'))
    model = build_model(tiny_eomt(training=False, rotary=True), seed=1)
    model.load_state_dict(converted)
    vit = expected.state_dict()
    for name, value in model.state_dict().items():
        if name.startswith('backbone.') or '.blocks.' in name:
            torch.testing.assert_close(value, vit[name] + 0.01)
    queries = 'panoptic_head.query_embed.weight'
    assert converted[queries].equal(file['network.q.weight'])
    base['layer.0.norm1.weight'] = torch.ones(3)
    with pytest.raises(ValueError, match='same size'):
        add_differences(file, to_whole_vit(base, 'dinov3'))


def test_a_plain_checkpoint_starts_a_conditioned_model(pair, tmp_path, caplog):
    path = tmp_path / 'plain.pth'
    torch.save(dict(state_dict=pair.oracle.state_dict()), path)
    model = build_model(tiny_eomt(conditioned=True), seed=1)
    token = model.panoptic_head.task_token.layers[0].weight.clone()
    load_weights(model, str(path))
    assert model.panoptic_head.task_token.layers[0].weight.equal(token)
    assert model.backbone.cls_token.equal(pair.ours.backbone.cls_token)


def test_a_model_of_another_image_size_resamples_positions(pair):
    model = build_model(tiny_eomt(training=False, size=96), seed=1)
    model.load_state_dict(pair.ours.state_dict())
    expected = resample_positions(pair.ours.backbone.positions, (6, 6))
    assert model.backbone.positions.equal(expected)


def test_a_file_without_what_it_needs_is_refused(pair):
    weights = pair.oracle.state_dict()
    del weights['attn_mask_probs']
    with pytest.raises(ValueError, match='attn_mask_probs is missing'):
        to_native(weights)
