#!/usr/bin/env bash
# Makes a virtual environment with the published SCimilarity package, which tests/oracle and benchmarks/scimilarity run.
#
#   scripts/make_scimilarity_env.sh [FOLDER]        FOLDER: .scimilarity in the repository, if not given
#
# scim does not depend on it: the package needs other versions, and users of scim need not run this script. The tests
# find it in .scimilarity, or by SCIM_SCIMILARITY_PYTHON=FOLDER/bin/python. PYTHON names the interpreter (3.11).
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
folder="${1:-$here/../.scimilarity}"
python="${PYTHON:-python3}"

version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
if [ "$version" != "3.11" ]; then
  echo "the versions of $here/scimilarity_env.txt are for Python 3.11, and $python is $version: PYTHON=python3.11 $0" >&2
  exit 1
fi
if [ -e "$folder/bin/python" ]; then
  echo "$folder has an environment already; remove it to make a new one" >&2
  exit 1
fi
"$python" -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check -r "$here/scimilarity_env.txt"
"$folder/bin/python" -c 'from importlib.metadata import version; import scimilarity; print("scimilarity", version("scimilarity"))'
