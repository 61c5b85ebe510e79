#!/usr/bin/env bash
# One experiment as a batch job that goes on where it stopped:  sbatch experiments/slurm/run.sh EXPERIMENT.yaml
#SBATCH --job-name=evoprune
#SBATCH --nodes=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail
exec .venv/bin/evoprune run "${1:?usage: sbatch run.sh EXPERIMENT.yaml}"
