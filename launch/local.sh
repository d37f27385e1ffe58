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
python=${PYTHON:-python}
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
  command+=("$python" -m scenarioclip_jax.main "${args[@]}")
}

if [[ -n $dry_run ]]; then
  for ((i = 0; i < n; i++)); do
    command_of "$i"
    echo "$(quoted "${command[@]}") &"
  done
  exit
fi

need_program "$python" "activate the environment that scenarioclip_jax is installed in, or set PYTHON"

pids=()     # all processes; each leads a process group of its own, to be found with its children
running=()  # those of them that have not ended, by number
labels=()   # the filters that put [i] before lines
stopping="" # the signal that asked for a stop
signal_running() {
  local pid
  for pid in "${running[@]}"; do kill -s "$1" -- "$pid" 2>/dev/null || true; done
}
kill_groups() {
  local pid
  for pid in "${pids[@]}"; do kill -s KILL -- "-$pid" 2>/dev/null || true; done
}
# ended_within SECONDS PID...: whether none of these processes (or -PID: groups) is left by then
ended_within() {
  local end=$((SECONDS + $1)) pid left
  shift
  while true; do
    left=""
    for pid; do if kill -0 -- "$pid" 2>/dev/null; then left=yes; fi; done
    [[ -n $left ]] || return 0
    ((SECONDS < end)) || return 1
    sleep 0.1 || true # a signal may end it
  done
}

# If this script is killed outright, its end of this pipe closes, and the guard ends the processes it was told of.
# Nobody else may hold that end. Whatever comes at the terminal is this script's to answer, not the guard's.
guard() {
  local line groups=()
  while read -r line; do
    if [[ $line == ended ]]; then return; fi
    groups+=("-$line")
  done
  kill -s TERM -- "${groups[@]}" 2>/dev/null || true
  ended_within "$grace" "${groups[@]}" || kill -s KILL -- "${groups[@]}" 2>/dev/null || true
}
# Standard output and error aren't its: somebody may wait for their end.
exec {guarded}> >(trap '' INT TERM HUP && guard >/dev/null 2>&1)
# Once the processes can't be told any more (their filter is gone), writing to it must not end the script.
trap '' PIPE
trap 'kill_groups; echo ended >&"$guarded" || true' EXIT
# Until all processes have started, a signal is only noted: sent to a process that was born this instant it
# could get lost.
trap 'stopping=TERM' TERM HUP
trap 'stopping=INT' INT

# With job control on (-m), a background command gets its own process group: a signal to ours, such as Ctrl-C in
# a terminal, reaches this script only, and is passed on once.
set -m
for ((i = 0; i < n; i++)); do
  [[ -z $stopping ]] || break
  command_of "$i"
  # An unnamed pipe: opening a named one waits for the other end, for ever where that has ended already.
  exec {output}> >(trap '' INT TERM HUP && exec sed -u "s/^/[$i] /" {guarded}>&-)
  labels+=($!)
  {
    echo "$BASHPID" >&"$guarded" # by the process itself: it is known to the guard before this script can die
    exec "${command[@]}" </dev/null >&"$output" 2>&1 {output}>&- {guarded}>&-
  } &
  pids+=($!) running[i]=$!
  exec {output}>&-
done
set +m

# shellcheck disable=SC2329 # by traps
pass_on() {
  stopping=$1
  signal_running TERM
}
trap 'pass_on TERM' TERM HUP
trap 'pass_on INT; trap kill_groups INT' INT
status=0 deadline=""
if [[ -n $stopping ]]; then
  if ((${#running[@]} < n)); then status=$((128 + $(kill -l "$stopping"))); fi
  if [[ $stopping == INT ]]; then trap kill_groups INT; fi
  sleep 0.2 || true # by now even the last one can be told
  signal_running TERM
fi

while ((${#running[@]})); do
  # The shell's own list: a process number may have been given to somebody else.
  alive=" $(jobs -rp | tr '\n' ' ')"
  for i in "${!running[@]}"; do
    [[ $alive != *" ${running[i]} "* ]] || continue
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
ended_within 2 "${pids[@]/#/-}" || kill_groups
pids=() # their numbers may be given to others from here on
# What a child in a session of its own still holds open doesn't end by itself.
ended_within 2 "${labels[@]}" || kill -s KILL -- "${labels[@]}" 2>/dev/null || true
exit "$status"
