#!/bin/sh
# build-launcher.sh PYTHON OUTPUT: builds the C module through which the Triton of PYTHON talks to the GPU's driver.
# Triton builds it on first use, which takes a compiler; triton-cc.sh hands it this one instead. Does nothing, and says
# so, where there is no Triton (PyTorch for CPUs brings none).
set -eu
python=$1 output=$2
backend=$("$python" -c 'import importlib.util as u; s = u.find_spec("triton"); print(s.submodule_search_locations[0] if s else "")')
if [ -z "$backend" ]; then
  echo "no Triton here: no launcher built"
  exit 0
fi
backend=$backend/backends/nvidia
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_paths(scheme="posix_prefix")["include"])')

# The driver's library is the node's. What stands in for it here has its name, so that the module asks for it by that.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
gcc -shared -Wl,-soname,libcuda.so.1 -o "$scratch/libcuda.so.1" -x c /dev/null
mkdir -p "$(dirname "$output")"
gcc "$backend/driver.c" -O3 -shared -fPIC -Wno-psabi -Wl,--no-as-needed -o "$output" \
  -L"$scratch" -l:libcuda.so.1 -I"$backend/include" -I"$headers"
sha256sum <"$backend/driver.c" >"$output.source"
