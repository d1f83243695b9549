#!/usr/bin/env bash
# Make the base image of compose/Dockerfile out of Debian's packages, where no registry of images
# can be reached:
#
#   compose/base-image.sh [NAME]     NAME is oversight-store/base:bookworm unless you say another
#
# Then build with `--build-arg BASE=NAME`, or set OVERSIGHT_BASE=NAME for the compose files and
# `make image`. An image of that name is left as it is. Needs root, Docker and debootstrap; takes
# about two minutes. BASE_MIRROR names the mirror of Debian.
set -euo pipefail

readonly NAME=${1:-oversight-store/base:bookworm}
readonly SUITE=bookworm
readonly MIRROR=${BASE_MIRROR:-http://deb.debian.org/debian}

if docker image inspect "$NAME" >/dev/null 2>&1; then
  echo "$NAME exists already."
  exit
fi
[ "$(id -u)" = 0 ] || { echo "debootstrap needs root: run this with sudo." >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
# shellcheck disable=SC2094 # the log is only read when debootstrap has failed
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$SUITE" "$work/root" "$MIRROR" \
  >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }

# What a server in a container never reads: half of the size.
rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/var/log/* \
  "$work"/root/usr/share/{doc,man,info,locale,lintian,pixmaps} "$work"/root/dev/* "$work"/root/tmp/* \
  "$work"/root/usr/lib/python3*/{test,idlelib,turtledemo}
find "$work/root" -name __pycache__ -prune -exec rm -rf {} +

tar -C "$work/root" --numeric-owner -c . |
  docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'CMD ["python3"]' --message "debootstrap $SUITE" - "$NAME" >/dev/null
echo "$NAME is ready: $(docker image inspect --format '{{.Size}}' "$NAME" | awk '{printf "%d MB", $1 / 1e6}')"
