#!/bin/bash
# Stage 1 on several nodes under SLURM: sbatch examples/slurm.sh [more options of tleg train-aux]
#
# Three minutes before the time limit SLURM sends SIGUSR1 to every task. tleg then writes a checkpoint and exits with 75, and the
# job is put back into the queue; the same command goes on from the checkpoint. Any other failure ends the job.
#SBATCH --job-name=tleg-aux
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=tleg-%j.log

set -u
PRESET=${PRESET:-small}
DATA=${DATA:-/fast/imagenet}
OUT=${OUT:-runs/$PRESET-aux}
GPUS=${SLURM_GPUS_ON_NODE:-4}

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000)) # different for each job, so that two jobs on one node don't meet

set -- --gpus "$GPUS" --preset "$PRESET" --data "$DATA" --out "$OUT" "$@"
if [ "$SLURM_JOB_NUM_NODES" = 1 ]; then
    srun tleg train-aux "$@"
else # one task per node; each starts its processes itself and learns from SLURM which node it is
    srun bash -c 'exec tleg train-aux --nodes "$SLURM_JOB_NUM_NODES" --node-rank "$SLURM_NODEID" "$@"' task \
        --rdzv-endpoint "$first:$port" "$@"
fi
code=$?

if [ "$code" = 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
