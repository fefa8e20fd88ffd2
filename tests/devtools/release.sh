# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Make the changelog of the next release in a copy of the tree, below the folder $1, and build the artifact there.
tree="$1/ansible_collections/lockstep/images"
rm -rf "$1"
mkdir -p "$tree"
git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$tree"
cd "$tree"
version=$(sed -n 's/^version: //p' galaxy.yml)
if grep -qx "  $version:" changelogs/changelog.yaml; then
  echo "$version is in the changelog already"
  exit 0
fi

export ANSIBLE_COLLECTIONS_PATH="$1"
antsibull-changelog release
antsibull-changelog lint
grep -qx "  $version:" changelogs/changelog.yaml
left=$(ls changelogs/fragments)
[ -z "$left" ] || { echo "ERROR: not in the changelog:" $left; exit 1; }
ansible-galaxy collection build --output-path "$1"
