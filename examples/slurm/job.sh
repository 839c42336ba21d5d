#!/bin/bash
# A job of Slurm, with an agent of Cairn on each node:
#
#     sbatch --nodes=4 --ntasks-per-node=8 --time=02:00:00 examples/slurm/job.sh ./simulation ARGUMENTS
#
# Each task writes as `rank-N`. Before the time is over, at a requeue and in the end each node writes a checkpoint; a job that was requeued
# begins with what they hold. `cairn merge job.cairn cairn-JOB/checkpoints` makes one file of them.
#
#SBATCH --job-name=cairn
#SBATCH --requeue
#SBATCH --open-mode=append

# On the shared file system, the same for all runs of the job. The stores themselves lie on the nodes, in SLURM_TMPDIR or TMPDIR.
export CAIRN_SHARED="${CAIRN_SHARED:-$PWD/cairn-$SLURM_JOB_ID}"

# When the job will be ended; many versions of Slurm do not tell it to the job. The checkpoint is written `--margin` seconds before.
if [ -z "${SLURM_JOB_END_TIME:-}" ]; then
  CAIRN_DEADLINE="$(date --date="$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e)" +%s)" && export CAIRN_DEADLINE
fi

# A program that expects SIGUSR1 can be warned, too: sbatch --signal=USR1@120
exec srun cairn run --margin 120 -- "$@"
