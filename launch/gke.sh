#!/usr/bin/env bash
# Runs on a multi-host TPU slice of a GKE cluster that has JobSet (0.6 or newer), through launch/gke.yaml.
#
#   launch/gke.sh --image IMAGE --workdir /shared/DIR|gs://BUCKET/DIR [--name scenarioclip] [--claim shared] \
#       [--accelerator tpu-v5-lite-podslice] [--topology 4x4] [--hosts 4] [--chips 4] [--dry-run] \
#       -- --config=configs/pretrain.py:vitb32 --config.data.dir=/shared/SHARDS
#
# --image   holds this code; build it by: git archive HEAD | docker build -t IMAGE -f launch/Dockerfile -
# --claim   a PersistentVolumeClaim that all pods can write (Filestore, or a bucket with a hierarchical namespace
#           through the gcsfuse driver); it is mounted at /shared and holds the workdir and the data. Not needed
#           where both are in buckets: gs://… or s3://….
# --hosts, --chips  of the slice: hosts, and chips a host; together they must make up the topology.
#
# A disrupted slice is restarted by the JobSet and goes on from the newest checkpoint. To stop and go on later:
# `kubectl delete jobset NAME`, which lets the run save, and the same command again.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"

image="" workdir="" name=scenarioclip claim="" dry_run=""
accelerator=tpu-v5-lite-podslice topology=4x4 hosts=4 chips=4
parse "image workdir name claim accelerator topology hosts chips" "dry-run" "$@"
((${#others[@]} == 0)) || fail "${others[0]}: no such flag (see --help)"
need image "$image" '[A-Za-z0-9][A-Za-z0-9./:@_-]*'
check_own_workdir
if [[ -z $claim ]] && is_address "$workdir"; then
  volume="emptyDir: {}"
else
  claim=${claim:-shared}
  need claim "$claim" '[a-z0-9]([a-z0-9.-]*[a-z0-9])?'
  volume="persistentVolumeClaim: { claimName: $claim }"
  is_address "$workdir" || [[ $workdir == /shared/* ]] ||
    fail "--workdir=$workdir: must lie in /shared, where the claim is mounted, or in a bucket"
fi
need name "$name" '[a-z]([a-z0-9-]*[a-z0-9])?'
need accelerator "$accelerator" '[a-z0-9-]+'
need topology "$topology" '[1-9][0-9]*(x[1-9][0-9]*)+'
need hosts "$hosts" '[1-9][0-9]*'
need chips "$chips" '[1-9][0-9]*'
((hosts * chips == ${topology//x/*})) ||
  fail "--hosts=$hosts of --chips=$chips are not the $((${topology//x/*})) chips of --topology=$topology"

manifest=$(<"$here/gke.yaml")
fill NAME "$name"
fill HOSTS "$hosts"
fill CHIPS "$chips"
fill ACCELERATOR "$accelerator"
fill TOPOLOGY "$topology"
fill IMAGE "$image"
fill VOLUME "$volume"
list=$(yaml_list "$workdir" "${args[@]}")
fill ARGS "$list" # last: nothing in it is filled in again

apply_manifest
