"""Shard parameters, gradients and optimizer state over the processes.

With the config of a model, whose checkpoints stay those of one process:
_base_ = ['./oneformer_swin-l_coco.py', './_base_/fsdp.py']
"""

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        # Parameters have learning rates and weight decays of their own.
        use_orig_params=True,
    ),
    state_dict_cfg='full',
)
