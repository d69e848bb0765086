#!/bin/sh
# A role of the image becomes this process (exec), so that signals reach it: api, worker, beat, flower.
# Further words go on to its command; any other first word is a command of penstock, or a program.
set -eu

role=${1:-api}
[ $# -eq 0 ] || shift
queues=${PENSTOCK_QUEUES:-default,conversations,analytics,notifications,maintenance}
unset PENSTOCK_QUEUES  # ours, not one of Penstock's settings
celery="celery -A penstock.celery_app"

# What the settings make of the environment: celery, embedded or inline.
engine() {
  python -c 'from penstock.settings import load_settings; print(load_settings().settings.tasks)'
}

# Whether each of user:password,user:password has both.
has_passwords() {
  rest=$1,
  while [ -n "$rest" ]; do
    case ${rest%%,*} in
      [!:]*:?*) rest=${rest#*,} ;;
      *) return 1 ;;
    esac
  done
}

case $role in
  api)
    # Ten seconds in which it serves on, called not ready: until the proxy has noticed.
    exec penstock serve --workers 1 --drain "${DRAIN_SECONDS:-10}" "$@"
    ;;
  worker)
    if [ "$(engine)" = celery ]; then
      exec $celery worker -Q "$queues" --concurrency "${CONCURRENCY:-4}" --loglevel info "$@"
    fi
    exec penstock worker --queues "$queues" "$@"
    ;;
  beat)
    exec $celery beat --loglevel info --schedule "${TMPDIR:-/tmp}/celerybeat-schedule" "$@"
    ;;
  flower)
    # Flower reads FLOWER_BASIC_AUTH=user:password itself; without it everybody may look and act.
    if ! has_passwords "${FLOWER_BASIC_AUTH:-}"; then
      echo "flower: set FLOWER_BASIC_AUTH=user:password, neither of them empty: who gets in can steer the workers" >&2
      exit 2
    fi
    exec $celery flower --address="${FLOWER_ADDRESS:-0.0.0.0}" --port="${FLOWER_PORT:-5555}" "$@"
    ;;
  celery | python | python3 | sh)
    exec "$role" "$@"
    ;;
  *)
    exec penstock "$role" "$@"
    ;;
esac
