# shellcheck shell=bash
# What the launchers share: flags, the rules for --workdir, quoting. Sourced, never run.

fail() {
  echo "${0##*/}: $*" >&2
  exit 2
}

# need_program NAME HINT: 127, as from a shell, where a program that everything else needs isn't there.
need_program() {
  command -v -- "$1" >/dev/null && return
  echo "${0##*/}: $1: no such program; $2" >&2
  exit 127
}

# Prints the words as shell code that means exactly these words; newlines stay readable.
quoted() {
  local word line=""
  for word; do
    if [[ ! $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then word="'${word//\'/\'\\\'\'}'"; fi
    line+=" $word"
  done
  printf '%s' "${line# }"
}

# parse "VALUE-FLAGS" "SWITCHES" "$@" reads the command line up to `--`. `--a-b X` and `--a-b=X` set a_b=X, a
# switch sets "yes", an unknown `--x=y` goes to `others`, and what follows `--` goes to `args`.
parse() {
  # Long names: a flag's own variable must not be one of these.
  local with_value=" $1 " switches=" $2 " flag_name flag_value
  shift 2
  others=() args=()
  while (($#)) && [[ $1 != -- ]]; do
    case $1 in
      -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;;
      --*) flag_name=${1#--} flag_name=${flag_name%%=*} ;;
      *) fail "$1 is no flag; what the run itself takes goes after --" ;;
    esac
    if [[ $switches == *" $flag_name "* && $1 != *=* ]]; then
      flag_value=yes
    elif [[ $with_value == *" $flag_name "* && $1 == *=* ]]; then
      flag_value=${1#*=}
    elif [[ $with_value == *" $flag_name "* ]]; then
      (($# > 1)) || fail "--$flag_name needs a value"
      flag_value=$2
      shift
    elif [[ $1 == *=* ]]; then
      others+=("$1") flag_name=""
    else
      fail "--$flag_name: no such flag (see --help)"
    fi
    [[ -z $flag_name ]] || printf -v "${flag_name//-/_}" '%s' "$flag_value"
    shift
  done
  (($#)) || fail "-- ARGS is missing: the arguments of the run itself"
  shift
  args=("$@")
}

# need FLAG VALUE [PATTERN]
need() {
  [[ -n $2 ]] || fail "--$1 is missing (see --help)"
  [[ $2 =~ ^${3:-.*}$ ]] || fail "--$1=$2: must match ${3-}"
}

# Sets `workdir` where --workdir is among the run's own arguments.
workdir_of_args() {
  local i
  for i in "${!args[@]}"; do
    case ${args[i]} in
      --workdir=* | -workdir=*) workdir=${args[i]#*=} ;;
      --workdir | -workdir) workdir=${args[i + 1]-} ;;
    esac
  done
}

# A restart goes on from what it finds in the workdir: it has to be named, and be the same place for all.
check_workdir() {
  [[ -n $1 ]] || fail "--workdir is missing: restarts go on from the checkpoints there, so it has to be" \
    "a fixed directory that every process can write"
  [[ $1 != *://* ]] || is_address "$1" || fail "--workdir=$1: must be a path, gs://BUCKET/DIR or" \
    "s3://BUCKET/DIR; mount other storage on every worker, and give the path it is mounted at"
}

is_address() { [[ $1 =~ ^(gs|s3)://[^/]+ ]]; }

# The same for the launchers that take --workdir themselves.
check_own_workdir() {
  local workdir_before=$workdir
  check_workdir "$workdir"
  [[ $workdir == /* ]] || is_address "$workdir" || fail "--workdir=$workdir: must be an absolute path, or in a bucket"
  workdir=""
  workdir_of_args
  [[ -z $workdir ]] || fail "--workdir goes before --, and only there"
  workdir=$workdir_before
}

# The words as a YAML list. $ is doubled because Kubernetes expands $(NAME) in arguments, and undoes the doubling.
yaml_list() {
  local word list=""
  for word; do
    [[ $word != *[[:cntrl:]]* ]] || fail "$(quoted "$word"): control characters can't be passed on"
    word=${word//\\/\\\\}
    word=${word//\"/\\\"}
    list+=", \"${word//\$/\$\$}\""
  done
  echo "[${list#, }]"
}

# fill NAME VALUE: puts the value in place of ${NAME} in `manifest`.
fill() { manifest=${manifest//"\${$1}"/"$2"}; }

# Gives `manifest` to Kubernetes, or prints that if `dry_run` is set, and ends.
apply_manifest() {
  # shellcheck disable=SC2154 # both are the launcher's
  if [[ -n $dry_run ]]; then
    printf 'kubectl apply -f - <<'\''MANIFEST'\''\n%s\nMANIFEST\n' "$manifest"
    exit
  fi
  need_program kubectl "run this where kubectl is installed and set to the cluster"
  kubectl apply -f - <<<"$manifest"
}

# check_output OUTPUT: the rules for --output of the launchers of annotate, which give each task its share themselves.
check_output() {
  local word
  need output "$1"
  [[ $1 == /* ]] || fail "--output=$1: must be an absolute path, of a folder that" \
    "every task can write"
  for word in "${args[@]}"; do
    case $word in
      # argparse takes beginnings of flags, too.
      --o*) fail "--output goes before --, and only there" ;;
      --s*) fail "$word: the launcher gives each task its share; say how many: --shards N" ;;
    esac
  done
}
