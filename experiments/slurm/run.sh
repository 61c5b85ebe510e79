#!/usr/bin/env bash
# One experiment as a batch job that goes on where it stopped:  sbatch experiments/slurm/run.sh EXPERIMENT.yaml
# Two minutes before its time is up the scheduler signals this script. The run ends with status 75, and is queued again.
#SBATCH --job-name=evoprune
#SBATCH --nodes=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
: "${1:?usage: sbatch run.sh EXPERIMENT.yaml [options of evoprune run]}"
export PATH="$PWD/.venv/bin:$PATH"  # the one of this checkout, where there is one

time_is_up=
trap 'time_is_up=1; kill -USR1 "$run" 2>/dev/null' USR1
trap 'kill -TERM "$run" 2>/dev/null' TERM INT HUP
evoprune run "$@" &
run=$!
while true; do  # a signal ends the wait, not the run
    wait "$run"
    status=$?
    kill -0 "$run" 2>/dev/null || break
done
if [[ $time_is_up ]] && ((status == 75 || status > 128)); then  # above 128: a signal came before evoprune listened
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
