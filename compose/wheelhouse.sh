#!/usr/bin/env bash
# Fill compose/wheels with the locked packages, so that the image can be built without network:
#
#   compose/wheelhouse.sh [amd64|arm64] [PYTHON]
#
# The machine's own architecture and Python 3.11 (the base image's) unless you say otherwise.
# Files are checked against requirements-image.lock; those already there are not fetched again.
set -euo pipefail
cd "$(dirname "$0")/.."

machine=${1:-$(uname -m)}
case $machine in
  amd64 | x86_64) machine=x86_64 ;;
  arm64 | aarch64) machine=aarch64 ;;
  *) echo "There are no packages for $machine: say amd64 or arm64." >&2; exit 2 ;;
esac
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3

platforms=()
for glibc in 2_36 2_35 2_34 2_33 2_32 2_31 2_30 2_29 2_28 2_27 2_26 2_24 2_17; do
  platforms+=(--platform "manylinux_${glibc}_$machine")
done
"$python" -m pip download --quiet --disable-pip-version-check --no-input \
  --require-hashes --only-binary :all: --no-deps \
  --implementation cp --python-version "${2:-3.11}" "${platforms[@]}" --platform "manylinux2014_$machine" \
  --dest compose/wheels --requirement requirements-image.lock
echo "compose/wheels holds $(ls compose/wheels/*.whl | wc -l) packages for $machine, $(du -sh compose/wheels | cut -f1)."
