#!/bin/sh
# The quickstart: one learngene gives networks of every depth, compared with TLEG as published and with networks that were trained
# separately. Every line is a public command that you can copy; two trainings run at a time, one on each processor core.
set -eu
cd "$(dirname "$0")"
PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # for networks this small a second thread costs more time than it saves
began=$(date +%s)
seed=${SEED:-0}
run=${RUN:-runs/quickstart}
teacher=$run/teacher/teacher.safetensors
alone="--set aux.epochs=30 --set aux.warmup_epochs=2 --set aux.lr=2e-3" # the best of the rates that were tried for separate networks
mkdir -p "$run"

bold='' plain=''
if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi
say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; "$@"; }
meanwhile() { # in the background; `finish` waits for it and shows how it ended
	printf '\n%s$ %s%s\n(at the same time as what follows; its output is in %s)\n' "$bold" "$*" "$plain" "$run/meanwhile.log"
	"$@" >"$run/meanwhile.log" 2>&1 &
	other=$!
}
finish() { wait "$other" || { cat "$run/meanwhile.log"; exit 1; }; }
trap 'kill "${other:-}" 2>/dev/null || true' EXIT

say tleg prepare digits "$run/data"
say tleg train-teacher --preset digits-any-depth --data "$run/data" --device cpu --seed "$seed" --out "$run/teacher"
meanwhile tleg train-aux --preset digits --data "$run/data" --device cpu --seed "$seed" --teacher "$teacher" --out "$run/tleg"
say tleg train-aux --preset digits-any-depth --data "$run/data" --device cpu --seed "$seed" --teacher "$teacher" --out "$run/aux"
finish
meanwhile tleg train-aux --preset digits $alone --set basis=piecewise:12 --set aux.depth=12 --data "$run/data" --device cpu --seed "$seed" --teacher "$teacher" --out "$run/separate-12"
say tleg train-aux --preset digits $alone --set basis=piecewise:3 --set aux.depth=3 --data "$run/data" --device cpu --seed "$seed" --teacher "$teacher" --out "$run/separate-03"
say tleg train-aux --preset digits $alone --set basis=piecewise:6 --set aux.depth=6 --data "$run/data" --device cpu --seed "$seed" --teacher "$teacher" --out "$run/separate-06"
finish
say tleg expand "$run/aux/learngene.pt" --depth 3,5,6,12,24 --out "$run/expanded" --force
say tleg compare --aux "$run/aux" --tleg "$run/tleg" --separate "$run/separate-03" --separate "$run/separate-06" --separate "$run/separate-12" --out "$run" --device cpu --seconds $(($(date +%s) - began))
printf '\nThe table is in %s/summary.json, the plot in %s/comparison.png.\n' "$run" "$run"
