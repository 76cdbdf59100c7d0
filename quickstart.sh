#!/bin/sh
# The quickstart: one learngene, five networks. Every line is a public command that you can copy.
set -eu
cd "$(dirname "$0")"
PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # for networks this small a second thread costs more time than it saves
began=$(date +%s)
seed=${SEED:-0}
run=${RUN:-runs/quickstart}
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

say tleg prepare digits "$run/data"
say tleg train-teacher --preset digits --data "$run/data" --device cpu --seed "$seed" --out "$run/teacher"
say tleg train-aux --preset digits --data "$run/data" --device cpu --seed "$seed" --teacher "$run/teacher/teacher.safetensors" --out "$run/aux"
say tleg inspect "$run/aux/learngene.pt"
say tleg expand "$run/aux/learngene.pt" --depth 3,4,6,9,12 --out "$run/expanded" --force
say tleg train-des --preset digits --data "$run/data" --device cpu --seed "$seed" --learngene "$run/aux/learngene.pt" --depth 3,4,6,9,12 --out "$run/des"
say tleg train-des --preset digits --data "$run/data" --device cpu --seed "$seed" --learngene "$run/aux/learngene.pt" --depth 3,4,6,9,12 --init scratch --out "$run/scratch"
say tleg compare --aux "$run/aux" --family "$run/des" --scratch "$run/scratch" --out "$run" --seconds $(($(date +%s) - began))
printf '\nThe table is in %s/summary.json, the plot in %s/comparison.png.\n' "$run" "$run"
