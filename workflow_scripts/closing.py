"""The last lines of `make report`: python workflow_scripts/closing.py FILE."""

import sys

from ssc.results.closing import closing

print(*closing([], opens=sys.argv[1]), sep="\n")
