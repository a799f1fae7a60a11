#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Compiles each public header alone, as a consumer does: with the include path
# only, and with warnings that a careful host has on.
#
#   headers.sh LANGUAGE FOLDER COMPILER... -- FLAGS...
#
# LANGUAGE is c11, c++11 or c++20; FOLDER has the headers, without vmload/.
set -u

language=$1
folder=$2
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

status=0
count=0
for header in "$folder"/vmload/*.h; do
    count=$((count + 1))
    # Twice: the include guard works. The rest keeps the file from being
    # empty, which ISO C does not allow.
    # shellcheck disable=SC2086
    printf '#include <vmload/%s>\n#include <vmload/%s>\n%s\n' \
        "${header##*/}" "${header##*/}" 'extern int nothing_else;' |
        $compiler -x "$kind" -std="$language" -fsyntax-only -Wall -Wextra \
            -Werror -pedantic -Wundef $glib "$@" - || {
        echo "$header does not compile alone as $language" >&2
        status=1
    }
done
if [ "$count" -lt 13 ]; then
    echo "only $count headers in $folder/vmload" >&2
    status=1
fi
exit $status
