#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Compiles every field macro as a consumer does, and then each mistake that
# the macros promise to find.
#
#   fields.sh LANGUAGE SOURCE COMPILER... -- FLAGS...
set -u

mistakes=12
language=$1
source=$2
shift 2
compiler=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    compiler="$compiler $1"
    shift
done
shift

case "$language" in
c++*) kind=c++ ;;
*) kind=c ;;
esac

glib=$(pkg-config --cflags-only-I glib-2.0) || exit 1
glib=$(echo "$glib" | sed -e 's/-I/-isystem /g')

# compile FLAGS...
compile()
{
    # shellcheck disable=SC2086
    $compiler -x "$kind" -std="$language" -fsyntax-only -Wall -Wextra \
        -Werror $glib "$@" "$source"
}

status=0
compile "$@" || status=1
n=1
while [ $n -le $mistakes ]; do
    if compile "$@" "-DMISTAKE=$n" 2>/dev/null; then
        echo "mistake $n is not found as $language" >&2
        status=1
    fi
    n=$((n + 1))
done
exit $status
