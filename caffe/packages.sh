#!/bin/bash
# Installs the packages of packages.txt that are missing; silent and quick if there are none.
#   packages.sh KIND...      KIND: run, build, test, image
set -euo pipefail
cd "$(dirname "$0")"

fail() { echo "setup: $*" >&2; exit 1; }

wanted=$(for kind; do awk -v kind="$kind" '$1 == kind {print $2}' packages.txt; done | sort)
# shellcheck disable=SC2086  # each package is one word
known=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null || true)
installed=$(sed -n 's/^installed //p' <<<"$known" | sort -u)
missing=$(comm -23 <(echo "$wanted") <(echo "$installed") | tr '\n' ' ')
[ -n "$missing" ] || exit 0

# shellcheck source=/dev/null
. /etc/os-release
[ "$ID $VERSION_ID" = "debian 12" ] ||
    fail "this system is $PRETTY_NAME, but Caffe is built with the packages of Debian 12: use the Dockerfile."

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    # sudo can only ask for a password at a terminal.
    as_root=(sudo); [ -t 0 ] || as_root=(sudo -n)
    "${as_root[@]}" true 2>/dev/null ||
        fail "Debian packages are missing, and only root can install them. As root, run: apt-get install $missing"
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600)
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
clean_up() { rm -f "$log"; [ -z "${ours:-}" ] || "${as_root[@]}" rm -f "$policy"; }
trap clean_up EXIT
echo "setup: installing $(wc -w <<<"$missing") Debian packages" >&2
# If an index that fails to load is needed, the installation fails.
"${apt[@]}" update >"$log" 2>&1 || true
# Only a package's programs are wanted: its services must not start, neither now nor at the next boot.
if [ ! -e "$policy" ]; then
    ours=1
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$policy"
fi
# shellcheck disable=SC2086
if ! "${apt[@]}" install --no-install-recommends $missing >>"$log" 2>&1; then
    grep -E '^(E|W):' "$log" >&2 || tail -n 5 "$log" >&2
    fail "apt-get could not install the Debian packages (see its messages above): $missing"
fi
for package in $missing; do
    [ ! -e "/etc/init.d/$package" ] || "${as_root[@]}" update-rc.d "$package" disable
done
