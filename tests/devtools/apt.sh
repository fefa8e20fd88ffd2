# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Install Debian packages without starting their daemons.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || trap "rm $policy" EXIT
[ -e $policy ] || printf '#!/bin/sh\nexit 101\n' | install -m 755 /dev/stdin $policy
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" > /dev/null
