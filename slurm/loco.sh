#!/usr/bin/env bash
# Submit leave-one-compound-out, and the job that makes one score of it once all tasks succeeded.  From the checkout:
#   DATA=/where/bbbc021/is bash slurm/loco.sh --array=0-37 slurm/loco.sbatch bbbc021 --epochs 10
# Arguments are those of slurm/submit.sh.  The score: runs/loco-ARRAY/scores/scores.json.
set -euo pipefail

array=$(bash slurm/submit.sh --parsable "$@")
array=${array%%;*}     # number;cluster
gather=$(bash slurm/submit.sh --parsable --dependency=afterok:"$array" --kill-on-invalid-dep=yes slurm/gather.sbatch \
    "runs/loco-$array")
echo "array job $array, then job ${gather%%;*} writes runs/loco-$array/scores"
