# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# The one list of what libvmload needs on Debian 12 and 13, and how to get it.
# Sourced by scripts/demo, scripts/test and .ci/run; it runs nothing by itself.
#
#   . scripts/packages.sh
#   vmload_install build test       # install what is missing of these groups
#
# Groups: build (library and binary), test (units, interop, demo),
# rdma (the RDMA lab and its tests), ci (sanitizers, fuzzers, coverage, ABI,
# lint).

VMLOAD_PACKAGES_BUILD="gcc libc6-dev binutils meson ninja-build pkg-config
    libglib2.0-dev libjansson-dev zlib1g-dev libzstd-dev
    libibverbs-dev librdmacm-dev"

VMLOAD_PACKAGES_TEST="g++ libcmocka-dev python3 qemu-system-x86 procps"

# The kernel and busybox that the lab boots are downloaded, not installed.
VMLOAD_PACKAGES_RDMA="python3 qemu-system-x86 iproute2 ibverbs-providers
    librdmacm1 rdmacm-utils perftest util-linux xz-utils"

VMLOAD_PACKAGES_CI="clang clang-tidy clang-format valgrind gcovr abigail-tools
    shellcheck mandoc man-db groff-base git"

# What clang's sanitizers and libFuzzer are linked with has clang's version in
# its name: 14 in Debian 12, 19 in 13. Prints nothing as long as apt does not
# know of clang.
vmload_clang_runtime()
{
    apt-cache depends clang 2>/dev/null |
        sed -n -e 's/^ *Depends: clang-\([0-9][0-9]*\)$/libclang-rt-\1-dev/p' |
        head -n 1
}

# Print the packages of the groups named, one list.
vmload_packages()
{
    local group

    for group in "$@"; do
        case "$group" in
        build) echo "$VMLOAD_PACKAGES_BUILD" ;;
        test) echo "$VMLOAD_PACKAGES_TEST" ;;
        rdma) echo "$VMLOAD_PACKAGES_RDMA" ;;
        ci) echo "$VMLOAD_PACKAGES_CI" "$(vmload_clang_runtime)" ;;
        *) echo "packages.sh: no group called '$group'" >&2; return 1 ;;
        esac
    done | xargs -n 1
}

# Print those of the packages named that dpkg does not know as installed.
vmload_missing()
{
    local package state

    for package in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" \
            2>/dev/null) || state=
        if [ "$state" != installed ]; then
            echo "$package"
        fi
    done
}

# What to say where there is no apt.
vmload_say_what_to_install()
{
    cat >&2 <<'TEXT'
This system has no apt-get, so nothing was installed. libvmload needs:
  build:  a C11 compiler, GNU binutils (as, ld, objcopy), meson >= 1.0, ninja,
          pkg-config, GLib >= 2.66, jansson, zlib and zstd (both optional)
  test:   cmocka >= 1.1.5, Python >= 3.9, qemu-system-x86_64 >= 7.2
  Fedora: dnf install gcc gcc-c++ binutils meson ninja-build pkgconf-pkg-config \
          glib2-devel jansson-devel zlib-devel libzstd-devel libcmocka-devel \
          python3 qemu-system-x86-core procps-ng
  Arch:   pacman -S gcc binutils meson ninja pkgconf glib2 jansson zlib zstd \
          cmocka python qemu-system-x86 procps-ng
  Alpine: apk add build-base meson samurai pkgconf glib-dev jansson-dev \
          zlib-dev zstd-dev cmocka-dev python3 bash qemu-system-x86_64 procps
Set VMLOAD_SKIP_INSTALL=1 when these are there, to pass this check.
TEXT
}

# Install what is missing of the groups named. Does nothing, and needs no
# rights and no network, when everything is there.
vmload_install()
{
    local missing sudo=

    if [ -n "${VMLOAD_SKIP_INSTALL:-}" ]; then
        return 0
    fi
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null
    then
        vmload_say_what_to_install
        return 1
    fi
    # shellcheck disable=SC2046
    missing=$(vmload_missing $(vmload_packages "$@"))
    if [ -z "$missing" ]; then
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            printf '%s\n' "Packages are missing, and this is neither root" \
                "nor is there sudo. Run this as root, then try again:" \
                "  apt-get update" \
                "  apt-get install --no-install-recommends ${missing//$'\n'/ }" >&2
            return 1
        fi
        sudo=sudo
    fi
    # shellcheck disable=SC2086
    echo "installing:" $missing >&2
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2 || return 1
    # Again: only now may apt know which runtime belongs to clang.
    # shellcheck disable=SC2046
    missing=$(vmload_missing $(vmload_packages "$@"))
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
        --no-install-recommends $missing >&2
}
