#!/bin/sh
# Stands for resolvconf: writes down how it was called, and what it was given. That it is asked what it knows changes nothing.
[ "$1" != -l ] || exit 0
{
    echo "resolvconf $*"
    [ "$1" != -a ] || cat
} >>"$MBT_CALLS"
