#!/usr/bin/env bash
# Generates the Python code of the contract, with the generator that requirements/generator.in names and
# requirements/generator.txt locks.
set -euo pipefail
cd "$(dirname "$0")"
# Absolute: programs that are installed name their interpreter by the path it was called by, and the copy of
# this folder that `make check-protos` works in is gone afterwards.
venv="$(cd .. && pwd)/.gen-venv"
lock=../requirements/generator.txt
if [ ! "$venv/.stamp" -nt "$lock" ]; then
  "${PYTHON:-python3}" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --require-hashes --requirement "$lock"
  touch "$venv/.stamp"
fi
out=python/taskyard_api/v1
rm -f "$out"/*_pb2.py "$out"/*_pb2.pyi "$out"/*_pb2_grpc.py "$out"/*_pb2_grpc.pyi
"$venv/bin/python" -W ignore -m grpc_tools.protoc -I. \
  --plugin=protoc-gen-mypy="$venv/bin/protoc-gen-mypy" --plugin=protoc-gen-mypy_grpc="$venv/bin/protoc-gen-mypy_grpc" \
  --python_out=python --mypy_out=quiet:python --grpc_python_out=python --mypy_grpc_out=quiet:python \
  taskyard_api/v1/*.proto
# Files without a service have no use for an empty gRPC module.
for file in "$out"/*_pb2_grpc.py; do
  if ! grep -q 'Stub(object)' "$file"; then rm -f "$file" "${file}i"; fi
done
