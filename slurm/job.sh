# shellcheck shell=bash disable=SC1091,SC2034,SC2154  # data goes to the job scripts, run_dir comes from them
# What the job scripts share; they read it from the folder they are submitted from, which is the checkout.
#   slurm/site.sh  is read first, where it is there: modules, container and network of this cluster (site.sh.example)
#   PYTHON   the interpreter that has the requirements, by default .venv/bin/python, in a container python; or several words
#            with blanks between them
#   RUN_IN   words before the interpreter, as "apptainer exec mscnn.sif"; launchers and this script stay outside
#   DATA     folder of packed fields, or with BBBC021's CSVs and images, or with the images of a --sites table; by default
#            what arguments say
#   STAGE    folder on each node's own disk, by default SLURM_TMPDIR; where there is one, DATA is copied there first.
#            The copy lies in a folder that only this user can read.  It is removed with the end of the script; one that is
#            cut off by the time limit leaves it behind.

# Set words=(...) to a program, or to a program and its arguments with blanks between them.
split() {
    words=("$1")
    command -v "$1" >/dev/null || read -r -a words <<<"$1"
}
if [ -e slurm/site.sh ]; then
    set +u    # modules and conda read variables that are not set
    source slurm/site.sh
    set -u
fi
run_in=()
if [ "${RUN_IN:-}" ]; then
    split "$RUN_IN"
    run_in=("${words[@]}")
fi
split "${PYTHON:-$([ "${RUN_IN:-}" ] && echo python || echo .venv/bin/python)}"
interpreter=${words[0]}
python=("${run_in[@]}" "${words[@]}")
MSCNN_NONCE=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')    # ranks of other jobs, which have another one, keep apart
export MSCNN_NONCE

# Copy $1 to a new folder $2 of this user alone, on one node; copies that this job left before, $3*, are removed.
# shellcheck disable=SC2016  # expanded on the nodes
COPY='
mkdir -p "${2%/*}"
umask 077
for stale in "$3"*; do
    if [ "$stale" != "$2" ] && [ -O "$stale" ] && [ ! -L "$stale" ]; then rm -rf "$stale"; fi
done
mkdir "$2" 2>/dev/null    # it may be there where nodes share the disk
if [ -L "$2" ] || [ ! -d "$2" ] || [ ! -O "$2" ]; then
    echo "$(hostname): $2 is no folder of this user; name another disk by STAGE" >&2
    exit 1
fi
cp -RL "$1/." "$2"'

# Copy DATA to each node's own disk, if there is one. Sets data=(the settings that name it).
stage_data() {
    local disk=${STAGE:-${SLURM_TMPDIR:-}} place=${DATA:-}
    if [ "$place" ] && [ "$disk" ]; then
        copy=$disk/mscnn-$SLURM_JOB_ID-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')    # nobody can have taken that name
        trap 'one_a_node rm -rf "$copy" || true' EXIT
        one_a_node sh -c "$COPY" copying "$DATA" "$copy" "$disk/mscnn-$SLURM_JOB_ID-"
        echo "data: $DATA copied to $copy on $SLURM_JOB_NUM_NODES nodes in $SECONDS s"
        place=$copy
    fi
    name_data --bbbc021 "$place"
}

# Set data=(...) for a folder: of BBBC021 by the option given, packed fields by --packed (or --data), of images alone by
# --image-root, none if it is empty.
name_data() {
    data=()
    if [ -e "$2/pack.json" ]; then
        data=("${1/bbbc021/packed}" "$2")
    elif [ "$2" ] && compgen -G "$2/BBBC021_v1_image.csv*" >/dev/null; then
        data=("$1" "$2")
    elif [ "$2" ]; then
        data=(--image-root "$2")
    fi
}

one_a_node() {
    srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 "$@"
}

# Run a program to its end and return its status.  Slurm's warning that time is nearly up is passed on: all ranks then stop
# at one step, save, and end with 75, and the job is queued again, to go on there.  So is one that has lost a rank, or a node
# with it.  train.py refuses to be started again and again without getting further (exit code 2), which ends that.
run_and_requeue() {
    local status=75 interrupted=$((128 + $(kill -l USR1))) before told
    before=$(run_status)
    if [ ! "$warned" ]; then
        "$@" &
        program=$!
        while true; do
            status=0
            wait $program || status=$?     # comes back early when the trap fires
            [ $status = $interrupted ] && kill -0 $program 2>/dev/null || break
        done
        if [ $status = $interrupted ]; then    # it ended in that moment: once more, for its own status
            status=0
            wait $program || status=$?
        fi
        program=
        [ "$warned" ] && [ $status = $interrupted ] && status=75    # the warning came before a rank could listen to it
    fi
    link_log
    if [ $status = 75 ] || { [ $status != 0 ] && [ "$(run_status)" != "$before" ] && lost_a_rank; }; then
        told=$(scontrol requeue "$SLURM_JOB_ID" 2>&1) || echo "not queued again: $told"
    fi
    return $status
}

# Link what Slurm prints from the folder of the run, once that is there: Slurm opens the file before the script begins.
link_log() {
    local printed
    printed=$(readlink /proc/$$/fd/1 || true)
    if [ -f "$printed" ] && [ -d "$run_dir" ]; then ln -sfn "$printed" "$run_dir/slurm-$SLURM_JOB_ID.out"; fi
}

run_status() {
    cat "$run_dir/RUN_STATUS.json" 2>/dev/null || true
}

lost_a_rank() {
    [[ $(run_status) =~ '"exit_code": 4'[^0-9] ]]
}

program='' warned=''
warn() {
    warned=yes
    echo "time is nearly up: saving, to go on later"
    [ ! "$program" ] || kill -USR1 "$program"
}
trap warn USR1
