#!/bin/bash
# Succeeds if the server on a port of this container responds to a path with status 200. Needs only bash.
#
#   health PORT PATH
set -euo pipefail

exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&3
read -r -t 2 _ status _ <&3
[[ $status == 200 ]]
