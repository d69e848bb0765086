#!/bin/sh
# The verbs of Pixel's manager script, on `penstock services`, which ends only what it started.
#
#   scripts/celery-manager.sh start|stop|restart|status|monitor|flower|test|logs [queue]
#
# Options go on to the command: scripts/celery-manager.sh start --workers 2 --concurrency 4
# It is about Celery: where a Redis is set and nothing says what runs jobs (Pixel's environment:
# REDIS_HOST, REDIS_PORT), PENSTOCK_TASKS=celery is meant. Servers have to be told the same.
# A settings file is not looked at for that; `celery_app.pixel` does.
# PENSTOCK is the program, by default that of this checkout, else the one on the path.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
if [ -z "${PENSTOCK:-}" ]; then
  if [ -x "$here/.venv/bin/penstock" ]; then
    PENSTOCK=$here/.venv/bin/penstock
  else
    PENSTOCK=penstock
  fi
fi

verb=${1:-help}
[ $# -eq 0 ] || shift
if [ -z "${PENSTOCK_TASKS:-}${PENSTOCK_CELERY_BROKER_URL:-}${CELERY_BROKER_URL:-}" ] &&
  [ -n "${PENSTOCK_REDIS_URL:-}${REDIS_URL:-}${PENSTOCK_REDIS_HOST:-}${REDIS_HOST:-}" ]; then
  export PENSTOCK_TASKS=celery
  [ "$verb" != start ] || echo "PENSTOCK_TASKS=celery is meant; set it for the servers too" >&2
fi
case $verb in
  start)
    # The workers and their clock; the original's script knew no servers.
    # shellcheck disable=SC2086  # it may be a program with arguments
    exec $PENSTOCK services start --servers "${SERVERS:-0}" "$@"
    ;;
  stop | restart | status | monitor | flower | test | logs)
    # shellcheck disable=SC2086
    exec $PENSTOCK services "$verb" "$@"
    ;;
  *)
    echo "usage: $0 start|stop|restart|status|monitor|flower|test|logs [queue]" >&2
    exit 2
    ;;
esac
