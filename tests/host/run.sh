#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Builds the host project of this folder against libvmload, as a subproject or
# as an installed library, in a folder that is removed afterwards.
#
#   run.sh subproject|static-subproject|installed
set -eu

mode=${1:-}
case "$mode" in
subproject | static-subproject | installed) ;;
*)
    echo "usage: run.sh subproject|static-subproject|installed" >&2
    exit 2
    ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/vmload-host.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A host's build knows nothing of the build that started this one.
unset DESTDIR MESON_TESTTHREADS NINJA_STATUS MAKEFLAGS 2>/dev/null || true

fail()
{
    echo "run.sh $mode: $*" >&2
    exit 1
}

# In $work/stage may stand what the words of $1 match, and nothing else.
only()
{
    (cd "$work/stage" && find . ! -type d) | grep -v -E "$1" >"$work/extra" ||
        return 0
    cat "$work/extra" >&2
    fail "unexpected files were installed"
}

mkdir "$work/host"
cp "$here/meson.build" "$here/host.c" "$work/host"

if [ "$mode" != installed ]; then
    kind=shared
    [ "$mode" = subproject ] || kind=static
    mkdir "$work/host/subprojects"
    cp "$here/subprojects/libvmload.wrap" "$work/host/subprojects"
    ln -s "$top" "$work/host/subprojects/libvmload"
    # A library installed on this machine must not be found instead.
    meson setup "$work/build" "$work/host" --prefix=/usr --libdir=lib \
        --force-fallback-for=vmload -Dlibvmload:default_library=$kind
    # None of our tests, examples and manual pages are in a host's build.
    ninja -C "$work/build" -t targets all >"$work/targets"
    if grep -E 'subprojects/libvmload/(tests|examples|docs)' \
        "$work/targets" >&2; then
        fail "a host builds our tests, examples or docs"
    fi
    if grep -q -e '-Wconversion' "$work/build/build.ninja"; then
        fail "a host gets our warning options"
    fi
    ninja -C "$work/build"
    meson test -C "$work/build" --no-suite libvmload --print-errorlogs
    DESTDIR=$work/stage meson install -C "$work/build" --no-rebuild --quiet
    if [ "$kind" = static ]; then
        only '^\./usr/bin/host$'
    else
        only '^\./usr/(bin/host|lib/libvmload\.so(\.[0-9.]+)?)$'
        test -e "$work/stage/usr/lib/libvmload.so.0" || fail "no library"
    fi
    # As QEMU looks libraries up, which passes over an overridden dependency.
    sed "s/dependency('vmload',/& method: 'pkg-config',/" \
        "$here/meson.build" >"$work/host/meson.build"
    grep -q "method: 'pkg-config'" "$work/host/meson.build"
    meson setup "$work/lookup" "$work/host" --force-fallback-for=vmload
    exit 0
fi

meson setup "$work/lib" "$top" --prefix="$work/prefix" --libdir=lib \
    -Dtests=disabled -Dexamples=disabled -Dfuzz=disabled
ninja -C "$work/lib"
meson install -C "$work/lib" --no-rebuild --quiet
PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig
LD_LIBRARY_PATH=$work/prefix/lib
export PKG_CONFIG_PATH LD_LIBRARY_PATH

# With Meson, and with nothing but pkg-config and a compiler.
meson setup "$work/build" "$work/host" --wrap-mode=nofallback
ninja -C "$work/build"
meson test -C "$work/build" --print-errorlogs
# shellcheck disable=SC2046
${CC:-cc} -Wall -Wextra -Werror -o "$work/plain" "$here/host.c" \
    $(pkg-config --cflags --libs vmload)
"$work/plain"

# The installed headers are the same contract as those of the tree.
"$top/tests/api/headers.sh" c11 "$work/prefix/include" "${CC:-cc}" -- \
    "-I$work/prefix/include"

# A program needs no library beside libvmload and GLib to link; the file is
# known by its ABI name.
readelf -d "$work/plain" | grep -q 'NEEDED.*\[libvmload\.so\.0\]' ||
    fail "the program does not need libvmload.so.0"
[ "$(pkg-config --modversion vmload)" = \
    "$(sed -n "s/^  version: '\(.*\)',/\1/p" "$top/meson.build")" ] ||
    fail "pkg-config tells another version"
