#!/usr/bin/env bash
# One experiment on several nodes, with a Ray cluster inside the job:  sbatch experiments/slurm/cluster.sh EXPERIMENT.yaml
# Submit it where this file is experiments/slurm/cluster.sh. All nodes need this folder, and evoprune, by the same paths.
#SBATCH --job-name=evoprune
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
: "${1:?usage: sbatch cluster.sh EXPERIMENT.yaml [options of evoprune run]}"
export PATH="$PWD/.venv/bin:$PATH"  # the one of this checkout, where there is one

RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')  # who does not know it is not let in
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0
export RAY_worker_niceness=0  # at the 15 of Ray any other process starves a search on CPUs
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)  # this script runs there too
address="$head:${RAY_PORT:-6379}"
others=$((SLURM_JOB_NUM_NODES - 1))

run='' nodes=''
pass_on() {  # a signal, to the run; as long as there is none, the job ends here
    if [[ $run ]]; then
        kill "-$1" "$run" 2>/dev/null
        return
    fi
    kill $nodes 2>/dev/null
    wait
    [[ $1 == USR1 ]] && scontrol requeue "$SLURM_JOB_ID"
    exit 75
}
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM INT HUP

srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="$head" --port="${address##*:}" --include-dashboard=false --block &
nodes=$!
until ray status --address "$address" >/dev/null 2>&1; do
    kill -0 "$nodes" 2>/dev/null || exit 1  # it has said why
    sleep 1
done
if ((others)); then
    srun --nodes="$others" --ntasks="$others" --exclude="$head" ray start --address="$address" --block &
    nodes="$nodes $!"
fi

bash experiments/slurm/run.sh "$@" --set "workers.address=$address" &
run=$!
while true; do  # a signal ends the wait, not the run
    wait "$run"
    status=$?
    kill -0 "$run" 2>/dev/null || break
done
kill $nodes 2>/dev/null
wait
exit "$status"
