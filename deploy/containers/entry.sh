#!/bin/bash
# A container's first process: starts the kit's service, passes a stop on to it, and reaps what its jobs leave behind.
# FLARE's own process as number one would not hear SIGTERM and would be killed after the grace period.
stop=
trap 'stop=1; kill -TERM "$service"' TERM INT
/bin/bash /kit/startup/sub_start.sh --once &
service=$!
wait "$service"
code=$?
[ -z "$stop" ] || { wait "$service"; exit 0; }
exit "$code"
