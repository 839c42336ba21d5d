#!/bin/bash
# A job array: tasks that know nothing of each other, and one record of all of them in the end:
#
#     array=$(sbatch --parsable --array=0-99 examples/slurm/array.sh ./simulation ARGUMENTS)
#     sbatch --dependency="afterany:$array" --wrap="cairn merge array.cairn cairn-$array/checkpoints"
#
# Each task has an agent of its own and writes as `task-N`; its checkpoint comes when it ends. A counter, a progress, a statistic of the merged file is that
# of all tasks.
#
#SBATCH --job-name=cairn-array
#SBATCH --ntasks=1
#SBATCH --requeue
#SBATCH --open-mode=append

# On the shared file system, the same for all tasks.
export CAIRN_SHARED="${CAIRN_SHARED:-$PWD/cairn-$SLURM_ARRAY_JOB_ID}"

exec srun cairn run --worker "task-$SLURM_ARRAY_TASK_ID" -- "$@"
