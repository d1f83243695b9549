#!/bin/sh
# Runs inside the image's build stage: installs into /out/opt/oversight what /opt/oversight will be.
#
#   install.sh dependencies   the locked packages, from /build/wheels if it holds any, else by pip
#   install.sh project        Oversight itself, the commands, and nothing that only builds
set -eu

readonly HOME_OF_IT=/opt/oversight
readonly PIP="/build/tool/bin/python -m pip --disable-pip-version-check --no-input --no-cache-dir"

dependencies() {
  python3 -m venv /build/tool
  python3 -m venv --without-pip "$HOME_OF_IT"
  # setuptools builds the project, and has no place in the image.
  sed '/^setuptools==/,/[^\\]$/d' /build/requirements-image.lock >/build/runtime.lock
  sed -n '/^setuptools==/,/[^\\]$/p' /build/requirements-image.lock >/build/build.lock
  set -- --quiet --require-hashes --only-binary :all:
  if ls /build/wheels/*.whl >/dev/null 2>&1; then
    set -- "$@" --no-index --find-links /build/wheels
  else
    find_index
  fi
  $PIP --python "$HOME_OF_IT/bin/python" install --no-compile "$@" --requirement /build/runtime.lock &&
    $PIP install "$@" --requirement /build/build.lock || {
    echo "The packages can't be installed. Where the index of packages is another than pip's own, or behind" \
      "a certificate of your network's, docs/container.md says how to name it ('Build')." >&2
    exit 1
  }
}

# Let pip read /build/pip/pip.conf, and trust /build/pip/*.crt beside the authorities that it knows.
find_index() {
  [ ! -e /build/pip/pip.conf ] || export PIP_CONFIG_FILE=/build/pip/pip.conf
  ls /build/pip/*.crt >/dev/null 2>&1 || return 0
  known=$(/build/tool/bin/python -c 'from pip._vendor import certifi; print(certifi.where())')
  for file in "$known" /build/pip/*.crt; do
    cat "$file" && echo
  done >/build/authorities.pem
  export PIP_CERT=/build/authorities.pem
}

project() {
  $PIP wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /build/dist /build/source
  $PIP --python "$HOME_OF_IT/bin/python" install --quiet --no-index --no-deps --no-compile /build/dist/*.whl
  # What tells the commands that they run in the image (stack/container.py).
  echo "Oversight's image. Its commands give the data folder to user 10001 and become that user." \
    >"$HOME_OF_IT/oversight-image"
  mkdir -p /out/opt
  mv "$HOME_OF_IT" /out/opt/
  chmod 755 /out/usr/local/bin/*
}

"$1"
