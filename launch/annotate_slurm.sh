#!/usr/bin/env bash
# Makes annotations on a Slurm cluster: an array of jobs, each of which does all stages of its share of the photos.
#
#   launch/annotate_slurm.sh --shards 16 --output WORK [--gpus-per-task 1] [--partition=gpu --time=8:00:00 ...] \
#       [--dry-run] -- --images=PHOTOS [--config=annotate.yaml]
#
# What follows -- goes to `python -m scenarioclip_jax.annotate run`. Other flags of the form --key=value go to sbatch
# as they are: --array=0-15%4 lets four run at a time, --array=3 does one share again. --gpus-per-task=0 suits models
# behind servers. The jobs run in the directory, and with the environment, that they were submitted from; PYTHON is the
# interpreter (python). WORK and PHOTOS must be on a file system that all nodes share; the logs go to WORK-logs.
# --dry-run prints the command instead of running it. When all are done, run the command that is printed at the end.
#
# Restart: before the time limit, and when it is preempted with a grace time, Slurm sends SIGTERM. A job then ends with
# 143, keeps what is done, and goes back into the queue. Without grace time, or if a node is lost, Slurm requeues it.
# An error (any other status) ends a job; the same command does what is left. scancel ends the batch script, too.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

shards="" gpus_per_task=1 output="" dry_run=""
parse "shards gpus-per-task output" "dry-run" "$@"
need shards "$shards" '[1-9][0-9]*'
need gpus-per-task "$gpus_per_task" '[0-9]+'
check_output "$output"
output=${output%/}

annotate=("${PYTHON:-python}" -m scenarioclip_jax.annotate)
gpus="#SBATCH --gpus-per-task=$gpus_per_task"
((gpus_per_task)) || gpus="# No GPUs."
script=$(
  cat <<JOB
#!/bin/bash
#SBATCH --job-name=annotate
#SBATCH --array=0-$((shards - 1))
#SBATCH --ntasks=1
$gpus
# May be started again under the same job id, then adds to its log.
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time limit. Without "B:" the process gets the signal, not this script.
#SBATCH --signal=TERM@120

# srun doesn't take this over from sbatch by itself.
if [[ -n \${SLURM_CPUS_PER_TASK-} ]]; then export SRUN_CPUS_PER_TASK=\$SLURM_CPUS_PER_TASK; fi

status=0
srun $(quoted "${annotate[@]}" run "--output=$output") "--shard=\$SLURM_ARRAY_TASK_ID/$shards" $(quoted "${args[@]}") || status=\$?
if ((status == 143)); then
  echo "stopped before its end: back into the queue"
  scontrol requeue "\$SLURM_JOB_ID"
  exit
fi
if ((status)); then echo "failed with status \$status: not requeued"; fi
exit "\$status"
JOB
)
# %A: the id of the array; %a: the number of the share.
log=${output//%/%%}-logs/%A_%a.out
command=(sbatch "--output=$log" "${others[@]}")

if [[ -n $dry_run ]]; then
  printf '%s <<'\''JOB_SCRIPT'\''\n%s\nJOB_SCRIPT\n' "$(quoted "${command[@]}")" "$script"
  exit
fi
need_program sbatch "run this on a login node of the cluster (it may need: module load slurm)"
mkdir -p "$output-logs" # Slurm doesn't create the directory of the log
"${command[@]}" <<<"$script"
printf 'When all are done:\n  %s\n' "$(quoted "${annotate[@]}" assemble "--output=$output")"
