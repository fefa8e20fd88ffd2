# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Write the HTML documentation to the folder $1, without links into other projects: they need the internet.
rm -rf "$1"
mkdir -m 755 "$1"
antsibull-docs sphinx-init --use-current --squash-hierarchy lockstep.images --dest-dir "$1"
printf '\nintersphinx_mapping = {}\nsuppress_warnings = ["ref.ref"]\n' >> "$1/conf.py"
bash "$1/build.sh"
