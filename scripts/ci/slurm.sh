#!/bin/bash
# An experiment in parts on Slurm: an array of which each task makes its shard of the runs. In the directory of the
# experiment, which all nodes share:
#
#     sbatch --array=1-4 slurm.sh shop.yaml results --runs 100 --seed 42
#
# and when the array is done: chaos-exec merge results/shard-* --out results/all --report chaos.html
#
#SBATCH --job-name=chaos
#SBATCH --ntasks=1
set -eu
experiment=$1 results=$2
shift 2
mkdir -p "$results"
# chaos-exec reads from the variables of Slurm which part of the array this is.
exec "${CHAOS:-chaos-exec}" experiment run "$experiment" "$@" --out "$results/shard-$SLURM_ARRAY_TASK_ID"
