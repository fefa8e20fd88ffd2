# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Unpack a package of Debian 13 into a directory: newer.sh PACKAGE DIRECTORY. The package sources of the machine do not change.
package=$1 directory=$2
apt=$(mktemp -d)
trap 'rm -r "$apt"' EXIT
mkdir -p "$apt/lists/partial" "$apt/archives/partial"
echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main' > "$apt/sources.list"
own="-qq -o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt"
own="$own -o APT::Sandbox::User=root"
# shellcheck disable=SC2086
apt-get $own -o Acquire::Languages=none update
# shellcheck disable=SC2086
(cd "$apt" && apt-get $own download "$package")
dpkg -x "$apt"/"$package"_*.deb "$directory"
