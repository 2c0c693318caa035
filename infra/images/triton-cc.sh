#!/bin/sh
# Triton's C compiler (CC) in an image that has none: gives it the one module it asks for, built with the image by
# build-launcher.sh.   triton-cc SOURCE ... -o OUTPUT ...
set -eu
built=${TRITON_LAUNCHER:-/opt/assay/lib/triton-launcher.so}
if ! [ -f "$1" ] || [ "$(sha256sum <"$1")" != "$(cat "$built.source")" ]; then
  echo "triton-cc: this image has no C compiler, and $1 is not what was built with it; use a base that has one" >&2
  exit 1
fi
while [ "$1" != -o ]; do shift; done
cp "$built" "$2"
