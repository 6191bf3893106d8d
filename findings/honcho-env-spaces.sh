#!/usr/bin/env bash
# honcho: a value in `.env` loses its spaces, and all from a `#` on, also within a word.
#
# honcho.readthedocs.io, Using Procfiles: `.env` "contains environment variables which will be available to all
# processes started by Honcho", with lines such as ASSET_ROOT=https://... without quotes. Expected: a value as it is
# written, as python-dotenv reads it. In fact the options of a server become one word, and an address with `#` in its
# password is cut, without a warning. The server then fails at its start, or takes another default, only under honcho.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi honcho==2.0.0 python-dotenv==1.2.4
"$place/venv/bin/honcho" --version
cd "$place"
cat >.env <<'END'
OPTIONS=--graceful-timeout 30 --workers 4
ADDRESS=redis://:pass#word@127.0.0.1/0
END
cat >show.py <<'END'
import os
print(os.environ["OPTIONS"], os.environ["ADDRESS"], sep="; ")
END
honcho=$(env -u OPTIONS -u ADDRESS venv/bin/honcho run python3 show.py)
dotenv=$(env -u OPTIONS -u ADDRESS venv/bin/python -c 'from dotenv import load_dotenv
load_dotenv(".env")
exec(open("show.py").read())')
echo "python-dotenv: $dotenv"
[ "$dotenv" = "--graceful-timeout 30 --workers 4; redis://:pass#word@127.0.0.1/0" ]
seen "--graceful-timeout30--workers4; redis://:pass" "$honcho"
