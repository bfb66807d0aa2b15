#!/bin/bash
# A container's first process: starts the kit's service, passes a stop on to it, and reaps what its jobs leave behind.
# FLARE's own process as number one would not hear SIGTERM and would be killed after the grace period.
# After `restart` in the console the start script ends with 75: the service starts again in the same container, which
# uses up no attempt of compose's `restart:` and is no crash to Kubernetes.
stop=
trap 'stop=1' TERM INT
exec {tick}<> <(:)  # nobody writes to it; a `sleep` would be a process, which a full machine refuses
code=75
while [ "$code" = 75 ] && [ -z "$stop" ]; do
    /bin/bash /kit/startup/sub_start.sh --once &
    service=$!
    while kill -0 "$service" 2> /dev/null; do
        [ -z "$stop" ] || kill -TERM "$service" 2> /dev/null
        read -rt 0.2 -u "$tick"
    done
    wait "$service"
    code=$?
done
[ -z "$stop" ] || exit 0
exit "$code"
