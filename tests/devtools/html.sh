# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Write the documentation site to the folder $1, and test it. Neither needs the internet.
site=$(pwd)/tests/devtools/site
rm -rf "$1"
mkdir -p -m 755 "$1/sources/collection"
antsibull-docs --config-file "$site/antsibull-docs.cfg" collection --cleanup everything --fail-on-error --use-current --squash-hierarchy \
  --dest-dir "$1/sources/collection" lockstep.images
python "$site/collect.py" "$1/sources"
sphinx-build -q -b html -W -n --keep-going -c "$site" -d "$1/doctrees" "$1/sources" "$1/build/html"
LOCKSTEP_TEST_SITE="$1/build/html" pytest -q tests/site
echo "The first page of the site is $1/build/html/index.html"
