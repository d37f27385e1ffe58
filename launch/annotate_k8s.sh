#!/usr/bin/env bash
# Makes annotations on a Kubernetes cluster (1.29 or newer): an indexed Job, through launch/annotate_k8s.yaml, each pod
# of which does all stages of its share of the photos.
#
#   launch/annotate_k8s.sh --image IMAGE --shards 16 --output /shared/WORK [--name annotate] [--claim shared] \
#       [--parallel 16] [--gpus-per-task 1] [--dry-run] -- --images=/shared/PHOTOS [--config=/shared/annotate.yaml]
#
# What follows -- goes to `python -m scenarioclip_jax.annotate run`.
#
# --image     holds this code; build it by:
#             git archive HEAD | docker build -t IMAGE --build-arg EXTRAS=annotate -f launch/Dockerfile -
# --claim     a PersistentVolumeClaim that all pods can write; it is mounted at /shared and holds WORK, the photos, and
#             the models that are downloaded (/shared/huggingface).
# --parallel  pods at a time; all by default. --gpus-per-task=0 suits models behind servers.
#
# A pod that is evicted, preempted or stopped is replaced as often as it takes, one that fails up to five times; each
# goes on with what is left of its share. To stop and go on later: `kubectl delete job NAME`, and the same command
# again. When all are done, run the command that is printed at the end where /shared is mounted.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"

image="" shards="" output="" name=annotate claim=shared parallel="" gpus_per_task=1 dry_run=""
parse "image shards output name claim parallel gpus-per-task" "dry-run" "$@"
((${#others[@]} == 0)) || fail "${others[0]}: no such flag (see --help)"
need image "$image" '[A-Za-z0-9][A-Za-z0-9./:@_-]*'
need shards "$shards" '[1-9][0-9]*'
check_output "$output"
output=${output%/}
[[ $output == /shared/* ]] || fail "--output=$output: must lie in /shared, where the claim is mounted"
need name "$name" '[a-z]([a-z0-9-]*[a-z0-9])?'
need claim "$claim" '[a-z0-9]([a-z0-9.-]*[a-z0-9])?'
parallel=${parallel:-$shards}
need parallel "$parallel" '[1-9][0-9]*'
need gpus-per-task "$gpus_per_task" '[0-9]+'

manifest=$(<"$here/annotate_k8s.yaml")
fill NAME "$name"
fill SHARDS "$shards"
fill PARALLEL "$parallel"
fill GPUS "$gpus_per_task"
fill IMAGE "$image"
fill CLAIM "$claim"
list=$(yaml_list "$shards" "--output=$output" "${args[@]}")
fill ARGS "$list" # last: nothing in it is filled in again

apply_manifest
printf 'When all are done (kubectl wait --for=condition=complete --timeout=-1s job/%s):\n  %s\n' "$name" \
  "$(quoted python -m scenarioclip_jax.annotate assemble "--output=$output")"
