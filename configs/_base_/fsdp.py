"""Shard parameters, gradients and optimizer state over the processes.

With the config of a model, whose checkpoints stay those of one process:
_base_ = ['./oneformer_swin-l_coco.py', './_base_/fsdp.py']
"""

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='ShardedModel',
        # Layers with as many parameters are gathered one at a time.
        min_layer_params=1_000_000,
    ),
    state_dict_cfg='full',  # one file, as without sharding
)
