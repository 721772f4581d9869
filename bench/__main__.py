"""`python -m bench` (make bench): the measurements of this project, side by side, `start` or
`reset`."""

import sys

from bench import reset, side_by_side, start_up

OTHERS = {"start": start_up.main, "reset": reset.main}
if sys.argv[1:] and sys.argv[1] in OTHERS:
    sys.exit(OTHERS[sys.argv[1]](sys.argv[2:]))
sys.exit(side_by_side.main())
