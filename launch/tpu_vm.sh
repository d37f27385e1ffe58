#!/usr/bin/env bash
# Runs on all workers of a TPU VM slice: one process a worker, which find each other by the TPU's metadata.
#
#   launch/tpu_vm.sh --name NAME --zone ZONE --workdir DIR [--project P] [--repo URL] [--setup COMMAND] \
#       [--create --type v5litepod-16 [--spot] [--runtime v2-alpha-tpuv5-lite]] [--watch] [--dry-run] \
#       -- --config=configs/pretrain.py:vitb32 --config.data.dir=SHARDS
#
# --workdir DIR  gs://BUCKET/DIR or s3://BUCKET/DIR, or a path that every worker can write: NFS (Filestore), or a
#                bucket mounted by gcsfuse, which needs a hierarchical namespace (checkpoints are renamed directories).
# --setup        runs first on every worker, each time; mount DIR here, for example
#                'mountpoint -q /shared || sudo mount -t nfs HOST:/SHARE /shared'
# --repo         where workers clone this code from (the remote "origin"); the commit checked out here must be there.
# --create       creates the slice if it doesn't exist or was preempted.
# --watch        repeats until the run has finished: creates the slice anew after a preemption (needs --type). What
#                passes (no capacity or quota, a lost connection, a server's error) is tried again, after pauses that
#                grow from one minute to 15. Anything else ends the watch with its reason: a missing permission, a
#                wrong name, a run that fails while the slice is READY. So does Ctrl-C.
#
# To stop the run so that it saves; the same command goes on with it (with --watch, end the watch first):
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command="pkill -TERM -f '[s]cenarioclip_jax.main'"
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"

name="" zone="" project="" repo="" setup="" type="" runtime=v2-alpha-tpuv5-lite workdir=""
create="" spot="" watch="" dry_run=""
parse "name zone project workdir repo setup type runtime" "create spot watch dry-run" "$@"
((${#others[@]} == 0)) || fail "${others[0]}: no such flag (see --help)"
need name "$name"
need zone "$zone"
check_own_workdir
if [[ -n $create$watch ]]; then need type "$type"; fi
repo=${repo:-$(git -C "$here" remote get-url origin 2>/dev/null || true)}
need repo "$repo"
commit=$(git -C "$here" rev-parse HEAD)

check_shared=: finished="test -e $(quoted "$workdir/report.json")"
if is_address "$workdir"; then
  finished="cd ~/scenarioclip && ~/venv/bin/python -m scenarioclip_jax.storage exists $(quoted "$workdir/report.json")"
else
  check_shared=$(
    cat <<CHECK
mkdir -p $(quoted "$workdir")
case \$(stat --file-system --format=%T $(quoted "$workdir")) in
  ext* | xfs | btrfs | tmpfs | overlay*)
    echo $(quoted "$workdir is on this worker's own disk; mount shared storage there (--setup)") >&2
    exit 2 ;;
esac
CHECK
  )
fi
# What a worker does. uv brings a Python that is new enough: that of the TPU images may not be.
worker_script=$(
  cat <<WORKER
set -euo pipefail
${setup:-:}
$check_shared
[ -d ~/scenarioclip/.git ] || git clone --quiet $(quoted "$repo") ~/scenarioclip
cd ~/scenarioclip
git fetch --quiet origin
git checkout --quiet --detach $commit
PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
[ -x ~/venv/bin/python ] || python3 -m uv venv --quiet --python 3.12 ~/venv
python3 -m uv pip install --quiet --python ~/venv/bin/python -e '.[tpu,gs,s3]'
# What a lost connection left running ends with its next line of output; until then it holds the TPU, and this.
exec 9>~/scenarioclip.lock
flock --wait 600 9 || { echo "another run holds this worker" >&2; exit 1; }
exec ~/venv/bin/python -m scenarioclip_jax.main $(quoted --multihost=yes "--workdir=$workdir" "${args[@]}")
WORKER
)

where=("--zone=$zone" ${project:+"--project=$project"})
tpu_vm=(gcloud compute tpus tpu-vm)
create_command=("${tpu_vm[@]}" create "$name" "${where[@]}" "--accelerator-type=$type" "--version=$runtime"
  ${spot:+--spot})
delete_command=("${tpu_vm[@]}" delete "$name" "${where[@]}" --quiet)
run_command=("${tpu_vm[@]}" ssh "$name" "${where[@]}" --worker=all "--command=$worker_script")
# Asked of one worker: the one beside the process that writes the report.
finished_command=("${tpu_vm[@]}" ssh "$name" "${where[@]}" --worker=0
  "--command=$finished")
if [[ -n $dry_run ]]; then
  if [[ -n $create$watch ]]; then
    echo "# if the slice was preempted:"
    quoted "${delete_command[@]}" && echo
    echo "# if there is none (any more):"
    quoted "${create_command[@]}" && echo
  fi
  echo "# on every worker:"
  quoted "${run_command[@]}" && echo
  if [[ -n $watch ]]; then
    echo "# finished, or stopped before its end and to be run again?"
    quoted "${finished_command[@]}" && echo
  fi
  exit
fi

need_program gcloud "run this where the Google Cloud CLI is installed and logged in"

said=$(mktemp) # what the last command wrote to standard error
trap 'rm -f "$said"' EXIT
attempt() { { "$@" 2>&1 >&3 3>&- | tee "$said" >&2; } 3>&1; }

# Whether what gcloud or ssh said is no reason to give up.
passes() {
  local for_good='PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ARGUMENT|Permission denied \(publickey|Reauthentication'
  local for_now='RESOURCE_EXHAUSTED|capacity|stockout|quota|rate ?limit|too many requests'
  for_now+='|UNAVAILABLE|ABORTED|ALREADY_EXISTS|DEADLINE_EXCEEDED|INTERNAL:|internal (server )?error|try again'
  for_now+='|timed? ?out|connection|broken pipe|unreachable|name resolution|unable to connect'
  for_now+='|(http[a-z]*|code|status|error)[^0-9a-z]{1,4}(429|5[0-9][0-9])'
  ! grep -Eiq "$for_good" <<<"$1" && grep -Eiq "$for_now" <<<"$1"
}

# Sets `state`, empty where there is no such slice. A question that fails is no answer.
ask_state() {
  local status=0
  state=$("${tpu_vm[@]}" describe "$name" "${where[@]}" '--format=value(state)' 2>"$said") || status=$?
  ((status)) || return 0
  # Of a project or zone that isn't there, gcloud says the same, but not that a node is missing.
  if grep -Eiq 'NOT_FOUND.*nodes/' "$said"; then return 0; fi
  cat "$said" >&2
  return "$status"
}

# Creating what exists already fails and does no harm.
make_ready() {
  ask_state || return
  case $state in
    READY) ;;
    PREEMPTED | TERMINATED) attempt "${delete_command[@]}" && attempt "${create_command[@]}" ;;
    "") attempt "${create_command[@]}" ;;
    STOPPED | SUSPENDED)
      echo "$name is $state: $(quoted "${tpu_vm[@]}" start "$name" "${where[@]}")" | tee "$said" >&2
      return 1
      ;;
    *) # on its way from one state to another
      echo "$name is $state: try again later" | tee "$said" >&2
      return 1
      ;;
  esac
}

if [[ -z $watch ]]; then
  if [[ -n $create ]]; then make_ready; fi
  rm -f "$said"
  exec "${run_command[@]}"
fi

shortest=${WATCH_PAUSE:-60} pause=$shortest # seconds; a preemption takes a while to show
rest() {
  echo "tpu_vm.sh: $1; trying again in $pause s" >&2
  sleep "$pause"
  pause=$((pause * 2 < shortest * 15 ? pause * 2 : shortest * 15))
}
give_up() {
  echo "tpu_vm.sh: $2 failed with status $1, which doesn't pass by itself: giving up" >&2
  exit "$1"
}
while true; do
  status=0
  make_ready || status=$?
  if ((status)); then
    passes "$(<"$said")" || give_up "$status" "getting $name ready"
    rest "$name isn't ready"
    continue
  fi
  began=$SECONDS
  attempt "${run_command[@]}" || status=$?
  if ((status == 0)) && "${finished_command[@]}"; then exit; fi
  if ((SECONDS - began > 600)); then pause=$shortest; fi
  heard=$(<"$said")
  rest "the run ended with status $status before its end"
  # A run that was stopped, or whose slice is gone, goes on.
  ((status)) || continue
  if ! ask_state || [[ $state != READY ]]; then continue; fi
  if ((status == 255)); then # ssh's: the run itself didn't fail
    passes "${heard:-connection lost}" || give_up 255 "the connection"
  else # of all that a run says, only what comes from gcloud
    passes "$(grep '^ERROR: (gcloud' <<<"$heard")" || give_up "$status" "the run"
  fi
done
