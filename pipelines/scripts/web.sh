#!/bin/sh
# Show the pipeline's folder on the port that was kept free for us.
# exec: the server takes this shell's place, so that the stop signal reaches the server itself.
set -eu
exec python3 -m http.server "$PSUP_PORT_HTTP" --bind 127.0.0.1 --directory "$PSUP_PIPELINE_DIR"
