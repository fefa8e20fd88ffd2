# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Build the artifact in the folder $1, then use it without the rest of the repository.
rm -rf "$1"
ansible-galaxy collection build --output-path "$1"
cd "$1"
export ANSIBLE_COLLECTIONS_PATH="$1/installed"
ansible-galaxy collection install --offline lockstep-images-*.tar.gz

# An execution environment gets all that meta/execution-environment.yml lists.
ansible-builder introspect installed | tee introspected
for name in requests cryptography zstandard PySocks isal gpgv; do
  grep -q "$name" introspected
done
examples=installed/ansible_collections/lockstep/images/docs/examples
ansible-builder create --file $examples/ee/execution-environment.yml --context context
grep -q lockstep.images context/_build/requirements.yml

cd installed/ansible_collections/lockstep/images

# The artifact holds only what users need and what Galaxy shows.
used='meta|playbooks|plugins|roles'
shown='CHANGELOG.md|CODE_OF_CONDUCT.md|CONTRIBUTING.md|FILES.json|LICENSE|LICENSES|MANIFEST.json|README.md|SECURITY.md|changelogs|docs'
strangers=$(
  ls -A | grep -vxE "$used|$shown" || true
  find . -path './docs/contributing*' -o -path './changelogs/fragments*' -o -path './playbooks/*quickstart*'
)
[ -z "$strangers" ] || { echo "ERROR: galaxy.yml must ignore" $strangers; exit 1; }

# Users need no more than these folders.
rm -rf $(ls -A | grep -vxE "$used")
ansible-doc --metadata-dump lockstep.images > /dev/null
ansible-playbook --syntax-check $(basename -s .yml playbooks/*.yml | sed 's/^/lockstep.images./')
