"""`python -m bench` (make bench): the measurements of this project, side by side or `start`."""

import sys

from bench import side_by_side, start_up

if sys.argv[1:2] == ["start"]:
    sys.exit(start_up.main(sys.argv[2:]))
sys.exit(side_by_side.main())
