#!/usr/bin/env bash
# Evaluate on several GPUs (or processes) of one or more machines.
# Usage: tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [options of tools/test.py]
# Set NNODES, NODE_RANK, MASTER_ADDR and PORT for more than one machine.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,4s/^# //p' "$0"
  exit 2
fi
config=$1 checkpoint=$2 processes=$3
shift 3
tools=$(dirname "$0")
PYTHONPATH="$tools/..:${PYTHONPATH:-}" exec "${PYTHON:-python}" \
  -m torch.distributed.run \
  --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
  --nproc_per_node="$processes" \
  "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
