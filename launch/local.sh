#!/usr/bin/env bash
# Runs one job as N processes on this machine, which talk over loopback.
#
#   launch/local.sh [--devices D] [--dry-run] N -- --config=configs/pretrain.py --workdir=DIR ...
#
# --devices D  simulates D CPU devices in each process: any mesh can be tried without an accelerator.
# PYTHON       the interpreter (python); LOCAL_GRACE the seconds a process has to end after another failed (30).
#
# Output lines start with [i], the number of their process. SIGTERM and Ctrl-C are passed on as SIGTERM: the run
# saves and stops, and the same command goes on. A second Ctrl-C kills. If a process fails, the others are
# ended, and its exit status is this script's.
# On GPUs, one process without this script drives all of a machine's GPUs; slurm.sh is for one process a GPU.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# N stands between the flags and --; the rest is parsed like everywhere.
flags=() before="" n="" devices="" dry_run="" workdir=""
while (($#)) && [[ $1 != -- ]]; do
  if [[ $1 != -* && $before != --devices ]]; then
    [[ -z $n ]] || fail "$1: only one number of processes can be given"
    n=$1
  else
    flags+=("$1")
  fi
  before=$1
  shift
done
parse "devices" "dry-run" "${flags[@]}" "$@"
((${#others[@]} == 0)) || fail "${others[0]}: no such flag (see --help)"
[[ $n =~ ^[1-9][0-9]*$ ]] || fail "the number of processes is missing or no number: '$n'"
[[ -z $devices ]] || need devices "$devices" '[1-9][0-9]*'
workdir_of_args
check_workdir "$workdir"
grace=${LOCAL_GRACE:-30}
[[ $grace =~ ^[0-9]+$ ]] || fail "LOCAL_GRACE=$grace: must be a whole number of seconds"

# Below the range that the kernel hands out for outgoing connections.
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

address=127.0.0.1:$(free_port)
# command_of i: sets `command`
command_of() {
  command=(env "JAX_COORDINATOR_ADDRESS=$address" "JAX_NUM_PROCESSES=$n" "JAX_PROCESS_ID=$1")
  if [[ -n $devices ]]; then
    local simulate=--xla_force_host_platform_device_count=$devices
    command+=(JAX_PLATFORMS=cpu "XLA_FLAGS=${XLA_FLAGS:+$XLA_FLAGS }$simulate")
  fi
  command+=("${PYTHON:-python}" -m scenarioclip_jax.main "${args[@]}")
}

if [[ -n $dry_run ]]; then
  for ((i = 0; i < n; i++)); do
    command_of "$i"
    echo "$(quoted "${command[@]}") &"
  done
  exit
fi

pids=()    # all processes; each leads a process group of its own, to be found with its children
running=() # those of them that have not ended, by number
labels=()  # the filters that put [i] before lines
signal_running() {
  local pid
  for pid in "${running[@]}"; do kill -s "$1" -- "$pid" 2>/dev/null || true; done
}
kill_groups() {
  local pid
  for pid in "${pids[@]}"; do kill -s KILL -- "-$pid" 2>/dev/null || true; done
}
pipes=$(mktemp -d)
trap 'kill_groups; rm -rf "$pipes"' EXIT
trap 'signal_running TERM' TERM HUP
trap 'signal_running TERM; trap kill_groups INT' INT

# With job control on (-m), a background command gets its own process group: a signal to ours, such as Ctrl-C in
# a terminal, reaches this script only, and is passed on once.
set -m
for ((i = 0; i < n; i++)); do
  command_of "$i"
  mkfifo "$pipes/$i"
  sed -u "s/^/[$i] /" <"$pipes/$i" &
  labels+=($!)
  "${command[@]}" </dev/null >"$pipes/$i" 2>&1 &
  pids+=($!) running[i]=$!
done
set +m

status=0 deadline=""
while ((${#running[@]})); do
  for i in "${!running[@]}"; do
    kill -0 "${running[i]}" 2>/dev/null && continue
    code=0
    wait "${running[i]}" || code=$?
    unset "running[i]"
    if ((code && !status)); then
      status=$code deadline=$((SECONDS + grace))
      echo "local.sh: process $i failed with status $code; ending the others" >&2
      signal_running TERM
    fi
  done
  if [[ -n $deadline ]] && ((SECONDS >= deadline)); then kill_groups; fi
  sleep 0.1 || true # a signal may end it
done

# Children of the processes have 2 seconds to tidy up after them.
for ((tick = 0; tick < 20; tick++)); do
  left=""
  for pid in "${pids[@]}"; do if kill -0 -- "-$pid" 2>/dev/null; then left=yes; fi; done
  [[ -n $left ]] || break
  sleep 0.1 || true
done
kill_groups
pids=() # their numbers may be given to others from here on
wait "${labels[@]}" || true
exit "$status"
