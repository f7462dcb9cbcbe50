#!/usr/bin/env bash
# Submit a job with the account, partition and mail of slurm/site.sh.  From the checkout:
#   DATA=/where/bbbc021/is bash slurm/submit.sh slurm/train.sbatch bbbc021 --seed 1
# Arguments are those of sbatch, which come after the ones of the site, and so replace them.
set -euo pipefail

SBATCH_FLAGS=()
if [ -e slurm/site.sh ]; then
    # shellcheck disable=SC2034  # the site's file asks for it
    SUBMITTING=yes
    set +u    # as in slurm/job.sh
    # shellcheck disable=SC1091
    source slurm/site.sh
    set -u
fi
for flag in "${SBATCH_FLAGS[@]}"; do
    if [ "${flag#*=}" = NAME ]; then
        echo "slurm/site.sh still says $flag; fill it in, or take it out" >&2
        exit 2
    fi
done
exec sbatch "${SBATCH_FLAGS[@]}" "$@"
