#!/usr/bin/env bash
# Submits a multi-node GPU job to Slurm: one process a GPU, which find each other by Slurm's own variables.
#
#   launch/slurm.sh --nodes 4 --gpus-per-node 8 --workdir DIR [--partition=gpu --time=24:00:00 ...] [--dry-run] \
#       -- --config=configs/pretrain.py:vitb32 --config.data.dir=SHARDS
#
# Other flags of the form --key=value go to sbatch as they are. Give --cpus-per-task: many clusters allow a process
# one core unless asked, and each reads with config.data.num_workers more. The job runs in the directory, and with
# the environment, that it was submitted from; PYTHON is the interpreter (python). --workdir must be on a file
# system that all nodes share. --dry-run prints the command instead of running it.
#
# Restart:
# - Before the time limit, and when the job is preempted from a partition with a grace time, Slurm sends SIGTERM to
#   the processes. They save and exit with 0 but without DIR/report.json, so the job puts itself back into the queue.
# - Preempted without grace time, or lost a node: Slurm requeues it; it goes on from the last checkpoint.
# - An error (any other status) ends the job. So does scancel, which ends the batch script too.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

nodes="" gpus_per_node="" workdir="" dry_run=""
parse "nodes gpus-per-node workdir" "dry-run" "$@"
need nodes "$nodes" '[1-9][0-9]*'
need gpus-per-node "$gpus_per_node" '[1-9][0-9]*'
check_own_workdir

# JAX gives each process the GPU of its number on the node, so every process has to see all of the node's GPUs:
# no --gpus-per-task and no --gpu-bind here.
finished="[[ -e $(quoted "$workdir/report.json") ]]"
if is_address "$workdir"; then
  log=slurm-%j.out finished=$(quoted "${PYTHON:-python}" -m scenarioclip_jax.storage exists "$workdir/report.json")
else
  log=${workdir//%/%%}/slurm-%j.out
fi
script=$(
  cat <<JOB
#!/bin/bash
#SBATCH --job-name=scenarioclip
#SBATCH --nodes=$nodes
#SBATCH --gpus-per-node=$gpus_per_node
#SBATCH --ntasks-per-node=$gpus_per_node
# May be started again under the same job id, then adds to its log.
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes to save before the time limit. Without "B:" the processes get the signal, not this script.
#SBATCH --signal=TERM@120

# srun doesn't take this over from sbatch by itself.
if [[ -n \${SLURM_CPUS_PER_TASK-} ]]; then export SRUN_CPUS_PER_TASK=\$SLURM_CPUS_PER_TASK; fi

status=0
srun --kill-on-bad-exit=1 $(quoted "${PYTHON:-python}" -m scenarioclip_jax.main "--workdir=$workdir" "${args[@]}") || status=\$?
if ((status)); then
  echo "failed with status \$status: not requeued"
  exit "\$status"
fi
if $finished; then
  echo "finished"
  exit
fi
echo "stopped before its end: back into the queue"
scontrol requeue "\$SLURM_JOB_ID"
JOB
)
# On the command line, not in the script, where paths with spaces would need Slurm's own quoting. %j: the job id.
command=(sbatch "--output=$log" "${others[@]}")

if [[ -n $dry_run ]]; then
  printf '%s <<'\''JOB_SCRIPT'\''\n%s\nJOB_SCRIPT\n' "$(quoted "${command[@]}")" "$script"
  exit
fi
need_program sbatch "run this on a login node of the cluster (it may need: module load slurm)"
is_address "$workdir" || mkdir -p "$workdir" # Slurm doesn't create the directory of the log
"${command[@]}" <<<"$script"
