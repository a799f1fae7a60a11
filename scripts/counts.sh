# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Counts the results of a `meson test` run. Sourced by scripts/test and
# .ci/run; it runs nothing by itself.

# vmload_counts JSON: print "PASSED FAILED SKIPPED" of one testlog.json.
vmload_counts()
{
    local log=$1 all passed skipped

    if [ ! -f "$log" ]; then
        echo "0 0 0"
        return
    fi
    all=$(grep -c '"result": "' "$log")
    passed=$(grep -c -E '"result": "(OK|EXPECTEDFAIL)"' "$log")
    skipped=$(grep -c '"result": "SKIP"' "$log")
    # Whatever is neither, timeouts and unknown words too, has failed.
    echo "$passed $((all - passed - skipped)) $skipped"
}
