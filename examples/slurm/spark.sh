#!/bin/bash
# A cluster of Spark in an allocation of Slurm, with an agent of Cairn on each node:
#
#     sbatch --nodes=4 --cpus-per-task=16 --time=02:00:00 examples/slurm/spark.sh job.py ARGUMENTS
#
# The job is what `spark-submit` takes. Needs pyspark and Cairn's client on all nodes (`pip install pyspark ./python`), and Java. Executors find the agent of
# their node (CAIRN_SOCKET); in the end `cairn-JOB.cairn` holds what all of them recorded.
#
#SBATCH --job-name=cairn-spark
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append

set -euo pipefail
umask 077

# On the shared file system, the same on all nodes.
export CAIRN_SHARED="${CAIRN_SHARED:-$PWD/cairn-$SLURM_JOB_ID}"
SPARK_HOME="${SPARK_HOME:-$(python3 -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')}"
export SPARK_HOME SPARK_CONF_DIR="$CAIRN_SHARED/spark"
master_host="${SPARK_LOCAL_IP:-$(hostname -f)}"
master="spark://$master_host:$((20000 + SLURM_JOB_ID % 10000))"

# Others on these nodes do not get in.
mkdir -p "$SPARK_CONF_DIR"
cat >"$SPARK_CONF_DIR/spark-defaults.conf" <<END
spark.master              $master
spark.authenticate        true
spark.authenticate.secret $(head -c 32 /dev/urandom | base64 | tr -d '=+/\n')
spark.ui.enabled          false
END

"$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.master.Master --host "$master_host" --port "${master##*:}" --webui-port 0 &
master_process=$!
srun --overlap cairn run -- "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.worker.Worker \
  --webui-port 0 --cores "${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}" --work-dir "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/spark-$SLURM_JOB_ID" "$master" &
workers=$!

code=0
cairn run --worker driver -- "$SPARK_HOME/bin/spark-submit" "$@" || code=$?

# Each agent writes a checkpoint as its worker ends.
kill -TERM "$workers"
wait "$workers" || true
kill -TERM "$master_process"
wait "$master_process" || true
cairn merge "cairn-$SLURM_JOB_ID.cairn" "$CAIRN_SHARED/checkpoints"
exit "$code"
