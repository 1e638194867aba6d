#!/usr/bin/env bash
# Train on several GPUs (or processes) of one or more machines.
# Usage: tools/dist_train.sh CONFIG NUM_PROCESSES [options of tools/train.py]
# Set NNODES, NODE_RANK, MASTER_ADDR and PORT for more than one machine.
set -euo pipefail
if [ $# -lt 2 ]; then
  sed -n '2,4s/^# //p' "$0"
  exit 2
fi
config=$1 processes=$2
shift 2
tools=$(dirname "$0")
PYTHONPATH="$tools/..:${PYTHONPATH:-}" exec "${PYTHON:-python}" \
  -m torch.distributed.run \
  --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
  --nproc_per_node="$processes" \
  "$tools/train.py" "$config" --launcher pytorch "$@"
