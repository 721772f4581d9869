"""`python -m bench` (make bench): the measurements of this project: side by side, `start`, `reset`,
`sealed`, `master` or `lookup`."""

import sys

from bench import lookup, master, reset, sealed, side_by_side, start_up

OTHERS = {
    "start": start_up.main,
    "reset": reset.main,
    "sealed": sealed.main,
    "master": master.main,
    "lookup": lookup.main,
}
if sys.argv[1:] and sys.argv[1] in OTHERS:
    sys.exit(OTHERS[sys.argv[1]](sys.argv[2:]))
sys.exit(side_by_side.main())
